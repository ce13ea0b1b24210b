#!/usr/bin/env python3
"""Writes tests/golden/lora: adapters as PEFT saves them, and what PyTorch computes with them.

    python tools/golden/lora.py                     # rewrite (README.md says what is in a file)
    python tools/golden/lora.py --check             # load the committed adapters into PEFT and compare

The models beside which the adapters stand are those of tests/golden/hf. Seeds are tried until float32 and float64 agree: a
rounding tie of an activation would otherwise be decided by the order of a sum.
"""

import argparse
import json
import os
import pathlib
import shutil

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

transformers.logging.disable_progress_bar()
ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "golden" / "lora"
BATCH, TIME, IGNORE = 2, 9, -1
TRUST = 2e-5
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
OURS = {name: name.removesuffix("_proj") for name in SEVEN}
# name -> (folder in tests/golden/hf, what LoraConfig is given)
CASES = {
    "ternary": ("bitnet-online", dict(r=4, lora_alpha=8, target_modules=SEVEN)),
    "dense": ("qwen2", dict(r=3, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True)),
}


def base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def matrices(model):
    """Our name -> parameter."""
    found = {}
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            continue
        parts = name.split(".")
        side = "a" if "lora_A" in parts else "b"
        module = next(part for part in parts if part in OURS)
        found[f"layers.{parts[parts.index('layers') + 1]}.{OURS[module]}.lora_{side}"] = parameter
    return found


def draw(model, seed):
    """Both matrices of every pair, large enough that they matter; (tokens, targets)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in matrices(model).items():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * (1.0 if name.endswith("a") else 0.3) / parameter.shape[1] ** 0.5)
    vocabulary = model.config.vocab_size
    tokens = torch.randint(vocabulary, (BATCH, TIME), generator=generator)
    targets = torch.randint(vocabulary, (BATCH, TIME), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.25] = IGNORE
    return tokens, targets


def run(model, tokens, targets):
    model.zero_grad()
    logits = model(tokens, use_cache=False).logits
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    loss.backward()
    result = {"logits": logits.detach().clone(), "loss": loss.detach().reshape(1).clone()}
    return result | {f"grad/{name}": parameter.grad.clone() for name, parameter in matrices(model).items()}


def distance(a, b):
    """The largest difference in units of the largest element of its tensor."""
    return max(float((a[name].double() - b[name].double()).abs().max() / b[name].abs().max()) for name in b)


def make(name):
    folder, options = CASES[name]
    for seed in range(200):
        model = get_peft_model(base(ROOT / "tests/golden/hf" / folder), LoraConfig(task_type="CAUSAL_LM", **options)).eval()
        tokens, targets = draw(model, seed)
        result = run(model, tokens, targets)
        shutil.rmtree(OUT / name, ignore_errors=True)
        model.peft_config["default"].base_model_name_or_path = f"tests/golden/hf/{folder}"
        model.save_pretrained(OUT / name)
        error = distance(result, run(model.double(), tokens, targets))
        if error < TRUST:
            break
    else:
        raise SystemExit(f"{name}: no seed is clear of rounding ties, the last is {error:.1e} from float64")
    (OUT / name / "README.md").unlink(missing_ok=True)
    config = json.loads((OUT / name / "adapter_config.json").read_text())
    config["target_modules"].sort()  # PEFT keeps a set
    (OUT / name / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    result = {key: value.float().contiguous() for key, value in result.items()}
    save_file(result | {"tokens": tokens.int(), "targets": targets.int()}, OUT / name / "expected.safetensors")
    for path in (OUT / name).iterdir():
        os.chmod(path, 0o644)
    print(f"{name}: seed {seed}, float64 differs by {error:.1e}", flush=True)


def check(name):
    folder, _ = CASES[name]
    model = PeftModel.from_pretrained(base(ROOT / "tests/golden/hf" / folder), OUT / name, is_trainable=True).eval()
    expected = load_file(OUT / name / "expected.safetensors")
    tokens, targets = expected.pop("tokens").long(), expected.pop("targets").long()
    error = distance(run(model, tokens, targets), expected)
    print(f"{name}: the committed files differ by {error:.1e}")
    return error < 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        raise SystemExit(not all([check(name) for name in CASES]))
    else:
        for name in CASES:
            make(name)


if __name__ == "__main__":
    main()

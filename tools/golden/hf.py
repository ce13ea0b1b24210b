"""Tiny Hugging Face models with what transformers answers: `tests/golden/hf/NAME/`.

    python tools/golden/hf.py            # rewrites every folder
    python tools/golden/hf.py --check    # runs transformers on the committed folders and compares

Each folder is a model as `from_pretrained` loads it, and `expected.json`: `ids`, `logits` (T, V) in float32 and `greedy`
(64 ids). Seeds are tried until float32 and float64 agree to 2e-4 of the largest logit and every greedy step has a
margin: a rounding tie of an activation would otherwise be decided by the order of a sum.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    BitNetConfig,
    BitNetForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.integrations.bitnet import pack_weights  # noqa: E402

transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "hf"
SIZES = dict(vocab_size=101, num_hidden_layers=2, bos_token_id=1, eos_token_id=2)
ONLINE = dict(quant_method="bitnet", linear_class="autobitlinear", quantization_mode="online")
PROMPT = [1, 17, 42, 99, 3, 64, 8]
GREEDY = 64
TRUST = 2e-4
MARGIN = 2e-3


def small(hidden, heads, kv_heads, ffn, **more):
    return dict(SIZES, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=ffn,
                max_position_embeddings=256, **more)


LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)

# name -> (model class, configuration, how it is stored)
CASES = {
    "bitnet-online": (BitNetForCausalLM, BitNetConfig(**small(60, 6, 2, 88, tie_word_embeddings=True)), "online"),
    "bitnet-offline-autobitlinear": (
        BitNetForCausalLM, BitNetConfig(**small(72, 6, 3, 132, rms_norm_eps=1e-4)), "autobitlinear"),
    "bitnet-offline-bitlinear": (
        BitNetForCausalLM, BitNetConfig(**small(72, 6, 3, 132, hidden_act="silu")), "bitlinear"),
    "onebit": (BitNetForCausalLM,
               BitNetConfig(**small(60, 6, 6, 76, hidden_act="silu", tie_word_embeddings=True)), "onebit"),
    "llama-bitlinear": (LlamaForCausalLM, LlamaConfig(**small(96, 6, 2, 160, head_dim=16)), "bitlinear"),
    "llama": (LlamaForCausalLM, LlamaConfig(**small(60, 6, 2, 76, rope_parameters=LLAMA3)), "sharded"),
    "mistral": (MistralForCausalLM, MistralConfig(**small(60, 6, 2, 76, head_dim=12, sliding_window=128)), "dense"),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**small(60, 6, 2, 88, tie_word_embeddings=True)), "dense"),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**small(60, 6, 2, 76, head_dim=14, tie_word_embeddings=True)), "dense"),
}


def randomise(model, seed):
    """Weights large enough that attention and gate are far from linear; gains around 1; all exact in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if "norm" in name:
                value = 1 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.5 * noise
            elif "embed" in name:
                value = 0.25 * noise
            else:
                value = noise * 1.5 / tensor.shape[1] ** 0.5
            tensor.copy_(value.bfloat16())


def is_projection(name):
    return "_proj.weight" in name


def packed(state, inverted):
    """The state with every projection packed; the scale of odd layers is not the absmean, to catch who recomputes it."""
    out = {}
    for name, tensor in state.items():
        if not is_projection(name):
            out[name] = tensor.float()  # transformers would mix types if it were bfloat16
            continue
        scale = tensor.float().abs().mean().clamp(min=1e-5)
        codes = (tensor.float() / scale).round().clamp(-1, 1)
        if ".1." in name:
            scale = scale * 1.25
        out[name] = pack_weights(codes.to(torch.int8))
        stored = 1 / scale if inverted else scale
        out[name.replace(".weight", ".weight_scale")] = stored.reshape(1).float()
    return out


def write(folder, model, how):
    """The folder as `from_pretrained` loads it."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    config = json.loads(model.config.to_json_string(use_diff=False))
    config = {k: v for k, v in config.items() if v is not None and not k.startswith("_") and k in KEPT}
    config["architectures"] = [type(model).__name__]
    if how == "sharded":
        model.bfloat16().save_pretrained(folder, max_shard_size="70KB")
        model.float()
        (folder / "generation_config.json").unlink(missing_ok=True)
    elif how in ("dense", "online", "onebit"):
        state = {k: v.bfloat16() for k, v in state.items()}
    else:
        state = packed(state, inverted=how == "bitlinear")
    if how == "online":
        config["quantization_config"] = ONLINE
    if how in ("autobitlinear", "bitlinear"):
        config["quantization_config"] = dict(quant_method="bitnet", linear_class=how, quantization_mode="offline")
    if how == "bitlinear" and "llama" in config["model_type"]:
        config["quantization_config"] = dict(quant_method="bitnet", modules_to_not_convert=["lm_head"])
    if how == "onebit":
        config |= dict(architectures=["BitnetForCausalLM"], model_type="llama", weight_bits=1, input_bits=8,
                       rope_theta=config.pop("rope_parameters")["rope_theta"])
        names = {"attn_sub_norm": "inner_attn_ln", "ffn_sub_norm": "ffn_layernorm"}
        for old, new in names.items():
            state = {k.replace(old, new): v for k, v in state.items()}
    if how != "sharded":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


KEPT = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
    "rope_parameters", "sliding_window", "bos_token_id", "eos_token_id", "attention_bias", "use_sliding_window",
}


def load(folder):
    """The model as transformers loads it, in float32; 1bitLLM's own code is not in transformers, but BitNet's equals it."""
    config = json.loads((folder / "config.json").read_text())
    if config["architectures"] != ["BitnetForCausalLM"]:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with tempfile.TemporaryDirectory() as twin:
        twin = pathlib.Path(twin)
        state = load_file(folder / "model.safetensors")
        names = {"inner_attn_ln": "attn_sub_norm", "ffn_layernorm": "ffn_sub_norm"}
        for old, new in names.items():
            state = {k.replace(old, new): v for k, v in state.items()}
        save_file(state, twin / "model.safetensors", metadata={"format": "pt"})
        config |= dict(architectures=["BitNetForCausalLM"], model_type="bitnet", quantization_config=ONLINE,
                       rope_parameters=dict(rope_type="default", rope_theta=config["rope_theta"]))
        (twin / "config.json").write_text(json.dumps(config))
        return load(twin)


@torch.no_grad()
def run(model):
    """(logits of the prompt, greedy ids, least relative margin of a greedy step)."""
    ids, margins, first = list(PROMPT), [], None
    for _ in range(GREEDY):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        first = logits if first is None else first
        best = logits[-1].topk(2).values
        margins.append(float((best[0] - best[1]) / logits[-1].abs().max()))
        ids.append(int(logits[-1].argmax()))
    return first, ids[len(PROMPT):], min(margins)


def double(model):
    """The model in float64, BitNet's buffers and its own dtype included."""
    for module in model.modules():
        if type(module).__name__ == "BitLinear":
            module.dtype = torch.float64
    return model.double()


def expected(folder):
    """What transformers answers, or None where float32 cannot be trusted."""
    model = load(folder)
    logits, greedy, margin = run(model)
    exact, exact_greedy, _ = run(double(model))
    error = float((logits - exact).abs().max() / exact.abs().max())
    if error > TRUST or greedy != exact_greedy or margin < MARGIN or len(set(greedy)) < 6:
        return None, f"error {error:.1e}, margin {margin:.1e}, {len(set(greedy))} ids, same greedy {greedy == exact_greedy}"
    rows = [[float(f"{value:.6g}") for value in row] for row in logits.tolist()]
    return {"ids": PROMPT, "logits": rows, "greedy": greedy}, f"error {error:.1e}, margin {margin:.1e}"


def dump(path, answer):
    rows = ",\n  ".join(json.dumps(row) for row in answer["logits"])
    path.write_text('{\n "ids": %s,\n "greedy": %s,\n "logits": [\n  %s\n ]\n}\n'
                    % (json.dumps(answer["ids"]), json.dumps(answer["greedy"]), rows))


def make(name, verbose):
    kind, config, how = CASES[name]
    folder = OUT / name
    for seed in range(400):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = kind(config).float()
        randomise(model, seed)
        write(folder, model, how)
        answer, said = expected(folder)
        if verbose:
            print(f"{name}: seed {seed}, {said}", flush=True)
        if answer is not None:
            dump(folder / "expected.json", answer)
            size = sum(path.stat().st_size for path in folder.iterdir())
            print(f"{name}: seed {seed}, {said}, {size} bytes", flush=True)
            return
    sys.exit(f"{name}: no seed is quiet enough; the last: {said}")


def check(name):
    committed = json.loads((OUT / name / "expected.json").read_text())
    logits, greedy, _ = run(load(OUT / name))
    wanted = torch.tensor(committed["logits"])
    error = float((logits - wanted).abs().max() / wanted.abs().max())
    print(f"{name}: {error:.1e}, greedy {'equal' if greedy == committed['greedy'] else 'DIFFERENT'}")
    return error < TRUST and greedy == committed["greedy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="cases [default: all]")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="say why a seed is passed over")
    args = parser.parse_args()
    names = args.names or list(CASES)
    if args.check:
        sys.exit(0 if all([check(name) for name in names]) else 1)
    for name in names:
        make(name, args.verbose)


main()

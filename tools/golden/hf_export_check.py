"""Whether transformers loads what `trilobit export hf` writes, and computes the same. Run by hand.

    python tools/golden/hf_export_check.py TRILOBIT FOLDER

For each golden folder that is ternary or dense, exports it in every mode that fits into FOLDER (which must not exist),
loads the result with `AutoModelForCausalLM`, and compares its logits and 64 greedy tokens with `expected.json`. Where
TRILOBIT_DATA is set, bitllama-3M too, against its reference.
"""

import json
import os
import pathlib
import subprocess
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "hf"
TERNARY = {
    "offline-autobitlinear": ["--mode", "offline"],
    "offline-bitlinear": ["--mode", "offline", "--linear-class", "bitlinear"],
    "online": ["--mode", "online"],
}
TOLERANCE = 2e-3
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)


def export(trilobit, model, out, arguments):
    subprocess.run([trilobit, "export", "hf", str(model), "--out", str(out), *arguments], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@torch.no_grad()
def greedy(model, ids, steps):
    ids = list(ids)
    start = len(ids)
    for _ in range(steps):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[start:]


def load(folder):
    # no dtype: what config.json says has to be enough
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@torch.no_grad()
def check(name, folder):
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    model = load(folder)
    logits = model(torch.tensor([expected["ids"]]), use_cache=False).logits[0]
    wanted = torch.tensor(expected["logits"])
    error = float((logits - wanted).abs().max() / wanted.abs().max())
    same = greedy(model, expected["ids"], len(expected["greedy"])) == expected["greedy"]
    return error < TOLERANCE and same, error, f"{type(model).__name__}, logits within {error:.1e}, greedy {'equal' if same else 'DIFFERENT'}"


@torch.no_grad()
def check_bitllama(trilobit, data, out):
    models = pathlib.Path(data) / "models" / "bitllama2"
    reference = json.loads((models / "reference.json").read_text())[0]
    good = True
    for mode, arguments in TERNARY.items():
        folder = out / f"bitllama-3M-{mode}"
        export(trilobit, models / "bitllama-3M.bin", folder,
               ["--tokenizer", str(models / "tokenizer.json"), *arguments])
        model = load(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for prompt in reference["prompts"]:
            ids = [1] + tokenizer.encode(prompt["text"], add_special_tokens=False) if prompt["text"] else [1]
            logits = model(torch.tensor([prompt["ids"]]), use_cache=False).logits[0, -1]
            error = max(abs(float(logits[i]) - v) for i, v in prompt["last_top8"])
            same = greedy(model, prompt["ids"], 48) == prompt["greedy48"]
            good &= same and ids == prompt["ids"]
            print(f"bitllama-3M {mode}, {len(ids)} tokens (tokenizer {'agrees' if ids == prompt['ids'] else 'DIFFERS'}): "
                  f"top-8 logits within {error:.1e}, greedy {'equal' if same else 'DIFFERENT'}", flush=True)
    return good


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    trilobit, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir()
    good, worst, exports = True, 0.0, 0
    for folder in sorted(GOLDEN.iterdir()):
        config = json.loads((folder / "config.json").read_text())
        ternary = "quantization_config" in config or config["architectures"] == ["BitnetForCausalLM"]
        for mode, arguments in (TERNARY if ternary else {"dense": []}).items():
            target = out / f"{folder.name}-{mode}"
            export(trilobit, folder, target, arguments)
            fine, error, said = check(folder.name, target)
            good, worst, exports = good and fine, max(worst, error), exports + 1
            print(f"{folder.name} as {mode}: {said}", flush=True)
    if os.environ.get("TRILOBIT_DATA"):
        good &= check_bitllama(trilobit, os.environ["TRILOBIT_DATA"], out)
    print(f"{exports} exports of {len(list(GOLDEN.iterdir()))} folders: logits within {worst:.1e}, "
          f"greedy tokens {'equal' if good else 'DIFFERENT'}")
    sys.exit(0 if good else 1)


main()

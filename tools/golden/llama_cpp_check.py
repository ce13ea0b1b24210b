#!/usr/bin/env python3
"""By hand: llama.cpp and this project read each other's ternary GGUF files and give the same greedy tokens, and
`diagnose --against` takes llama.cpp's log-probabilities.

    python llama_cpp_check.py --trilobit target/release/trilobit --data DATA

DATA is the folder of shared test data. The model is bitllama-3M (SiLU, which llama.cpp's `bitnet` computes; 256 columns, so
that its activation scale per block of 256 is one per token). Needs llama-cpp-python and numpy.
"""

import argparse
import ctypes
import json
import subprocess
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np

FILE_TYPES = {"tq1_0": 36, "tq2_0": 37}


def theirs(path: Path, prompt: list[int], steps: int) -> list[int]:
    model = llama_cpp.Llama(model_path=str(path), n_ctx=256, verbose=False)
    model.eval(prompt)
    tokens = []
    for _ in range(steps):
        logits = llama_cpp.llama_get_logits(model._ctx.ctx)
        tokens.append(int(np.ctypeslib.as_array(logits, (model.n_vocab(),)).argmax()))
        model.eval(tokens[-1:])
    return tokens


def ours(trilobit: Path, path: Path, prompt: list[int], steps: int) -> list[int]:
    tokens = []
    for _ in range(steps):
        ids = ",".join(map(str, prompt + tokens))
        command = [trilobit, "logits", path, "--ids", ids, "--top", "1", "--json"]
        tokens.append(json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL))["top"][0][0])
    return tokens


def log_probabilities(path: Path, ids: list[int], context: int, out: Path) -> None:
    """Write what `llama-perplexity --kl-divergence-base` writes: whole chunks, rows of the second half but the last."""
    chunks = np.array(ids[: len(ids) // context * context], np.int32).reshape(-1, context)
    model = llama_cpp.Llama(model_path=str(path), n_ctx=context, logits_all=True, verbose=False)
    with out.open("wb") as file:
        file.write(b"_logits_" + np.array([context, model.n_vocab(), len(chunks)], np.int32).tobytes() + chunks.tobytes())
        for chunk in chunks:
            model.reset()
            # Every chunk is read behind the token that begins a text, and the file does not say so.
            model.eval([model.token_bos() if chunks[0][0] == model.token_bos() else int(chunk[0]), *chunk[1:].tolist()])
            logits = np.array(model.scores[context // 2 : context - 1], np.float32)
            logs = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
            logs -= logits.max(1, keepdims=True)
            lowest = np.maximum(logs.min(1), logs.max(1) - 16)
            step = (logs.max(1) - lowest) / 65535
            for row, low, unit in zip(logs, lowest, step):
                codes = np.rint((np.maximum(row, low) - low) / unit).astype(np.uint16)
                file.write(np.array([unit, low], np.float32).tobytes() + codes.tobytes() + b"\0\0" * (len(codes) % 2))


def parity(trilobit: Path, path: Path, ids: list[int], work: Path) -> None:
    log_probabilities(path, ids, 32, work / "base.kld")
    command = [trilobit, "diagnose", path, "--against", work / "base.kld", "--json"]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    line = next(line for line in report["probes"] if line["code"] == "P108")
    print(f"{path.name}: {line['outcome']}", flush=True)
    if not line["ran"] or any(finding["code"] == "P108" for finding in report["findings"]):
        raise SystemExit(report["findings"])


def quantise(source: Path, target: Path, file_type: int) -> None:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.token_embedding_type = 1  # F16
    params.output_tensor_type = 1
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if code != 0:
        raise SystemExit(f"llama_model_quantize: {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trilobit", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=48)
    args = parser.parse_args()
    folder = args.data / "models/bitllama2"
    prompts = [p["ids"] for p in json.loads((folder / "reference.json").read_text())[0]["prompts"]]
    answers = 0
    with tempfile.TemporaryDirectory() as work:
        for kind in ["f16", *FILE_TYPES]:
            command = [args.trilobit, "export", "gguf", folder / "bitllama-3M.bin", "--tokenizer", folder / "tokenizer.json",
                       "--type", kind, "--out", f"{work}/{kind}.gguf"]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        ternary = Path(work, "tq2_0.gguf")
        parity(args.trilobit, ternary, prompts[0] + theirs(ternary, prompts[0], 64), Path(work))
        for kind, file_type in FILE_TYPES.items():
            quantise(Path(work, "f16.gguf"), Path(work, f"theirs-{kind}.gguf"), file_type)
            for name in (f"{kind}.gguf", f"theirs-{kind}.gguf"):
                for prompt in prompts:
                    a = theirs(Path(work, name), prompt, args.steps)
                    b = ours(args.trilobit, Path(work, name), prompt, args.steps)
                    equal = sum(x == y for x, y in zip(a, b))
                    print(f"{name}: {equal} of {args.steps} greedy tokens equal after {len(prompt)} tokens", flush=True)
                    if a != b:
                        raise SystemExit(f"llama.cpp {a}\ntrilobit  {b}")
                    answers += 1
    print(f"TQ1_0 and TQ2_0, ours read there and theirs read here: {answers} answers of {args.steps} greedy tokens equal")


if __name__ == "__main__":
    main()

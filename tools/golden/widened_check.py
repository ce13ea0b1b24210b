#!/usr/bin/env python3
"""By hand: llama.cpp computes a network whose rows were filled up with zeros to blocks of 256 (`export gguf --widen`) as this
project does with `--activation-block 256`.

    python widened_check.py --trilobit target/release/trilobit --smollm2 SmolLM2-135M-Instruct.Q4_1.gguf
    python widened_check.py --trilobit target/release/trilobit --greedy healed-tq2_0.gguf

--smollm2 rounds the model (rows of 576, a healthy model no more) to TQ2_0 and compares the logits after each of 16 tokens. There a
sum in another order moves a rounded activation now and then, and thirty layers of such a network make much of it: half of the
tokens are within 1e-3, and the likeliest next token is the same after all.

--greedy lets both go on from eight prompts for 48 tokens, and prints for each how many are equal, the distance of the two
likeliest logits where they part, and whether llama.cpp, led along our tokens, finds each of them the likeliest.

Needs llama-cpp-python and numpy.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np

# Elements of an activation that llama.cpp rounds together beside TQ1_0 and TQ2_0.
BLOCK = "256"
PROMPTS = ["Once upon a time there was", "She opened the letter, and", "The capital of France is",
           "It was a dark night, and the old man", "The captain looked at the sea and said",
           "In the morning the children", "My dear friend,", "There are three reasons why"]


def ask(trilobit: Path, command: str, path: Path, *extra: str) -> dict:
    call = [trilobit, command, path, "--json", "--activation-block", BLOCK, "--kv", "f16", *extra]
    return json.loads(subprocess.check_output(call, stderr=subprocess.DEVNULL))


def logits(model: llama_cpp.Llama) -> np.ndarray:
    return np.ctypeslib.as_array(llama_cpp.llama_get_logits(model._ctx.ctx), (model.n_vocab(),)).copy()


def single_tokens(trilobit: Path, smollm2: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "wide.gguf")
        export = [trilobit, "export", "gguf", smollm2, "--type", "tq2_0", "--quantize", "--widen", "--out", path]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        model = llama_cpp.Llama(model_path=str(path), n_ctx=64, verbose=False)
        differences = []
        for token in np.random.default_rng(1).integers(100, 49000, 16):
            model.reset()
            model.eval([int(token)])
            theirs = logits(model)
            ours = np.array(ask(trilobit, "logits", path, "--ids", str(token), "--all")["logits"][0], np.float32)
            differences.append(abs(ours - theirs).max() / abs(theirs).max())
            print(f"after {token}: logits differ by {differences[-1]:.1e} of the largest", flush=True)
            assert ours.argmax() == theirs.argmax()
    assert np.median(differences) < 1e-3
    print(f"16 tokens, the same likeliest after each; median difference {np.median(differences):.1e}, "
          f"largest {max(differences):.1e} of the largest logit")


def greedy(trilobit: Path, path: Path, steps: int) -> None:
    model = llama_cpp.Llama(model_path=str(path), n_ctx=256, verbose=False)
    whole = likeliest = total = 0
    for prompt in PROMPTS:
        ours = ask(trilobit, "generate", path, "--prompt", prompt, "--max-tokens", str(steps), "--temperature", "0")["tokens"]
        model.reset()
        model.eval(model.tokenize(prompt.encode(), add_bos=False, special=True))
        gaps = []
        for token in ours:
            theirs = logits(model)
            gaps.append(float(theirs.max() - theirs[token]))
            model.eval([token])
        parts = [step for step, gap in enumerate(gaps) if gap > 0]
        whole, likeliest, total = whole + (not parts), likeliest + len(ours) - len(parts), total + len(ours)
        where = f"part at token {parts[0]}, where llama.cpp's likeliest is {gaps[parts[0]]:.4f} above ours" if parts else "equal"
        print(f"{prompt!r}: {len(ours)} tokens, {where}", flush=True)
    print(f"{whole} of {len(PROMPTS)} answers equal; {likeliest} of {total} tokens the likeliest in llama.cpp too")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trilobit", type=Path, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--smollm2", type=Path)
    what.add_argument("--greedy", type=Path)
    parser.add_argument("--steps", type=int, default=48)
    args = parser.parse_args()
    if args.smollm2:
        single_tokens(args.trilobit, args.smollm2)
    else:
        greedy(args.trilobit, args.greedy, args.steps)


if __name__ == "__main__":
    main()

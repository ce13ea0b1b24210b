#!/usr/bin/env python3
"""Writes tests/golden/perplexity.json: what transformers calls the perplexity of some ids, window by window.

    python tools/golden/perplexity.py            # rewrite
    python tools/golden/perplexity.py --check    # compare the committed file with a fresh run

As in transformers' guide to the perplexity of fixed-length models: of each window, the labels that a window before it
has scored are -100. A window here is W tokens that each predict the next one, W + 1 tokens with the last target.
Full-precision models only: where activations are quantised, rounding ties are decided by the order of a sum.
"""

import argparse
import json
import math
import os
import pathlib

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch  # noqa: E402
import transformers  # noqa: E402

transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
OUT = GOLDEN / "perplexity.json"
MODELS = ("llama", "mistral", "qwen2", "qwen3")
WINDOWS = ((32, 32), (32, 8), (100, 100), (7, 1))  # window, stride
IDS = 151
IGNORED = -100


@torch.no_grad()
def perplexity(model, ids: list[int], window: int, stride: int) -> float:
    nll, scored = 0.0, 1
    for start in range(0, len(ids), stride):
        end = min(start + window, len(ids) - 1)
        tokens = torch.tensor([ids[start : end + 1]])
        labels = tokens.clone()
        labels[0, : scored - start] = IGNORED
        count = end + 1 - scored
        nll += float(model(tokens, labels=labels).loss) * count
        scored = end + 1
        if scored == len(ids):
            return math.exp(nll / (len(ids) - 1))


def compute() -> dict:
    ids = torch.randint(3, 101, (IDS,), generator=torch.Generator().manual_seed(5)).tolist()
    cases = []
    for name in MODELS:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            GOLDEN / "hf" / name, dtype=torch.float32, attn_implementation="eager").eval()
        for window, stride in WINDOWS:
            cases.append({"model": name, "window": window, "stride": stride,
                          "perplexity": perplexity(model, ids, window, stride)})
    return {"ids": ids, "cases": cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file instead of writing")
    check, document = parser.parse_args().check, compute()
    if not check:
        cases = ",\n  ".join(json.dumps(case) for case in document["cases"])
        OUT.write_text('{\n "ids": %s,\n "cases": [\n  %s\n ]\n}\n' % (json.dumps(document["ids"]), cases))
        return
    committed = json.loads(OUT.read_text())
    worst = max(abs(new["perplexity"] / old["perplexity"] - 1) for new, old in zip(document["cases"], committed["cases"]))
    print(f"{len(document['cases'])} perplexities, the worst differs by {worst:.1e}")
    raise SystemExit(worst > 1e-5 or document["ids"] != committed["ids"])


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Alternates this project's `bench decode|prefill` with llama.cpp and ik_llama.cpp on GGUF files of one model.

    python compare_infer.py --ours model-tq2_0.gguf --llama model-tq2_0.gguf --ik model-iq2_bn.gguf \\
        --llama-python PY --ik-python PY --threads 2 --rounds 5 --out result.json

Every round runs each engine once, in a process of its own; the ratio of a round is ours over the better peer.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def run(command: list) -> dict:
    output = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def ours(args: argparse.Namespace, what: str, tokens: int) -> dict:
    return run([args.trilobit, "bench", what, args.ours, "--threads", args.threads, "--tokens", tokens, "--rounds", 1,
                "--json"])


def peer(args: argparse.Namespace, engine: str, what: str, tokens: int) -> float:
    python, model = getattr(args, f"{engine}_python"), getattr(args, engine)
    return run([python, HERE / "infer_peer.py", "--engine", engine, "--model", model, "--threads", args.threads,
                f"--{what}", tokens])[what]


def compare(args: argparse.Namespace, what: str, tokens: int) -> dict:
    rounds = []
    for _ in range(args.rounds):
        mine = ours(args, what, tokens)
        peers = {engine: peer(args, engine, what, tokens) for engine in ("llama", "ik") if getattr(args, engine)}
        rounds.append({"ours": mine, "peers": peers, "ratio": mine["tokens_per_s"] / max(peers.values())})
        print(json.dumps(rounds[-1]), flush=True)
    median = statistics.median
    return {
        "tokens": tokens,
        "ours": median(r["ours"]["tokens_per_s"] for r in rounds),
        "peers": {name: median(r["peers"][name] for r in rounds) for name in rounds[0]["peers"]},
        "ratio": median(r["ratio"] for r in rounds),
        "ratio_range": [min(r["ratio"] for r in rounds), max(r["ratio"] for r in rounds)],
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trilobit", default="target/release/trilobit")
    for name in ("ours", "llama", "ik", "llama-python", "ik-python"):
        parser.add_argument(f"--{name}", required=name == "ours")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    result = {"threads": args.threads}
    for what, tokens in (("decode", args.decode), ("prefill", args.prefill)):
        if tokens:
            result[what] = compare(args, what, tokens)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    summary = {what: {k: v for k, v in result[what].items() if k != "rounds"} for what in ("decode", "prefill") if what in result}
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()

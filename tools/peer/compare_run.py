#!/usr/bin/env python3
"""Holds a run's losses against PyTorch's on the same initial weights, batches and schedule.

    trilobit train … --out RUN
    trilobit data batches DATA --batch B --sequence T --seed S --steps 200 --out batches.safetensors
    python compare_run.py --run RUN --batches batches.safetensors --steps 200

Reads the run's config.toml, metrics.jsonl and the weights of its checkpoint at step 0, runs train_torch.py and
prints one JSON object: the largest |loss − loss of PyTorch| and where, and both speeds. Exit code 1 if it is
larger than --tolerance.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path


def peer_config(run: Path, metrics: list[dict]) -> dict:
    config = tomllib.loads((run / "config.toml").read_text())
    train = config["train"]
    return {
        "model": config["model"],
        "lr": [line["lr"] for line in metrics],
        "weight_decay": [line["weight_decay"] for line in metrics],
        "lambda": 1.0 if all(line["lambda"] == 1.0 for line in metrics) else [line["lambda"] for line in metrics],
        "clip": train["clip"],
        "betas": [train["beta1"], train["beta2"]],
        "epsilon": train["epsilon"],
        "optimizer": train["optimizer"],
        "document_mask": train["document_mask"],
    }


def peer_losses(args: argparse.Namespace, config: dict) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(config))
        initial = args.run / "checkpoints/step-00000000/weights.safetensors"
        command = [sys.executable, Path(__file__).with_name("train_torch.py"), "--initial", initial, "--batches",
                   args.batches, "--config", path, "--steps", str(args.steps), "--threads", str(args.threads),
                   "--dtype", args.dtype]
        command += ["--part", str(args.part)] if args.part else []
        command += ["--compile"] if args.compile else []
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    return [line for line in lines if "loss" in line and "step" in line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--part", type=int, help="sequences that PyTorch computes at a time")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--tolerance", type=float, default=0.02)
    args = parser.parse_args()
    lines = (args.run / "metrics.jsonl").read_text().splitlines()[: args.steps]
    metrics = [json.loads(line) for line in lines]
    peer = peer_losses(args, peer_config(args.run, metrics))
    if not len(metrics) == len(peer) == args.steps:
        raise SystemExit(f"{args.run}: {len(metrics)} steps, PyTorch {len(peer)}, wanted {args.steps}")
    differences = [abs(ours["loss"] - theirs["loss"]) for ours, theirs in zip(metrics, peer)]
    worst = max(range(args.steps), key=differences.__getitem__)
    tokens = metrics[0]["tokens"]
    print(json.dumps({
        "steps": args.steps,
        "largest_difference": differences[worst],
        "at_step": worst,
        "median_difference": statistics.median(differences),
        "loss_first": [metrics[0]["loss"], peer[0]["loss"]],
        "loss_last": [metrics[-1]["loss"], peer[-1]["loss"]],
        "tokens_per_s": statistics.median(line["tokens_per_s"] for line in metrics),
        "peer_tokens_per_s": tokens / statistics.median(line["seconds"] for line in peer),
    }))
    return int(differences[worst] > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Times one PyTorch training step (forward, backward, clip, AdamW) on random tokens.

    python torch_step.py --config S --dtype bf16 --compile --threads 2

S, M and G are the training shapes of the benchmark tables, B is SmolLM2-135M's halfway through gradual quantisation. Two warm-up steps, then the median of
seven, all on one batch; prints one JSON line. The model and its update are those of train_torch.py.
"""

import argparse
import json
import math
import resource
import statistics
import time

import torch

from train_torch import BitNet, Trainer, add_engine_arguments

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.1
SHAPES = {  # hidden, layers, vocabulary, batch, sequence
    "S": (256, 6, 8192, 16, 256),
    "M": (512, 8, 8192, 16, 256),
    "G": (256, 4, 50257, 8, 128),
    "B": (576, 30, 49152, 8, 256),
}
BLENDED = {"B": 0.5}  # λ; 1 elsewhere
SMOLLM2 = {"kv_heads": 3, "ffn": 1536, "activation": "silu", "sub_norms": False, "tied": True}


def model_config(hidden: int, layers: int, vocabulary: int) -> dict:
    heads = hidden // 64
    ffn = round(8 / 3 * hidden / 256) * 256
    return {"hidden": hidden, "layers": layers, "heads": heads, "kv_heads": heads, "head_size": 64, "ffn": ffn,
            "vocabulary": vocabulary}


def initialise(model: BitNet, layers: int) -> None:
    """Normal with σ = 0.02; σ / √(2L) for the matrices that write into the residual stream."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            residual = name.endswith((".o", ".down"))
            torch.nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=SHAPES, default="S")
    parser.add_argument("--steps", type=int, default=7, help="timed steps; the median is reported")
    parser.add_argument("--warmup", type=int, default=2)
    add_engine_arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    hidden, layers, vocabulary, batch, sequence = SHAPES[args.config]
    changes = SMOLLM2 if args.config == "B" else {}
    model = BitNet(model_config(hidden, layers, vocabulary) | changes, sequence)
    initialise(model, layers)
    trainer = Trainer(model, {}, args.dtype, args.compile)
    ids = torch.randint(vocabulary, (batch, sequence + 1))
    data = (ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    if args.config in BLENDED:
        data += (None, torch.tensor(BLENDED[args.config]))

    losses, seconds = [], []
    for _ in range(args.warmup + args.steps):
        start = time.perf_counter()
        losses.append(trainer.step([data], LEARNING_RATE, WEIGHT_DECAY)[0])
        seconds.append(time.perf_counter() - start)
    timed = seconds[args.warmup :]
    print(json.dumps({
        "framework": f"torch {torch.__version__}", "config": args.config, "dtype": args.dtype,
        "compile": args.compile, "threads": args.threads, "parameters": sum(p.numel() for p in model.parameters()),
        "tokens_per_step": batch * sequence, "warmup_s": round(sum(seconds[: args.warmup]), 2),
        "step_s": {"median": round(statistics.median(timed), 4), "min": round(min(timed), 4), "max": round(max(timed), 4)},
        "tokens_per_s": round(batch * sequence / statistics.median(timed), 1),
        "loss_first": round(losses[0], 4), "loss_last": round(losses[-1], 4),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }))


if __name__ == "__main__":
    main()

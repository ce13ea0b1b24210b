#!/usr/bin/env python3
"""Writes tests/golden/muon.safetensors: a model's weights before and after updates by torch.optim.Muon and AdamW.

    python tools/golden/muon.py            # rewrite the file
    python tools/golden/muon.py --check    # recompute and compare with the committed file

torch.optim.Muon orthogonalises in bfloat16; here its function is replaced by the same iteration in float32. How far the
float64 iteration is from that is printed, and how far torch's own bfloat16.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.optim._muon as torch_muon
from safetensors.numpy import load_file, save_file

from bitnet import PROJECTIONS, Config, weight_shapes

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "muon.safetensors"
# Square, wide and tall matrices.
CONFIG = Config(hidden=16, layers=1, heads=2, kv_heads=1, head_size=8, ffn=40, vocabulary=11, context=8)
UPDATES = 2
LR, WEIGHT_DECAY = 0.02, 0.1
TORCH_OWN = torch_muon._zeropower_via_newtonschulz


def iteration(dtype: torch.dtype):
    """Newton–Schulz as torch writes it, in a type of ours."""

    def orthogonal(grad, coefficients, steps, eps):
        a, b, c = coefficients
        x = grad.to(dtype)
        tall = x.size(0) > x.size(1)
        x = x.T if tall else x
        x = x / x.norm().clamp(min=eps)
        for _ in range(steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return (x.T if tall else x).to(grad.dtype)

    return orthogonal


def draw() -> dict[str, np.ndarray]:
    """Weights, and gradients whose singular values lie far apart."""
    rng = np.random.default_rng(7)
    tensors = {}
    for name, shape in weight_shapes(CONFIG).items():
        tensors[f"weight/{name}"] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
        rows, cols = shape if len(shape) == 2 else (1, *shape)
        for update in range(UPDATES):
            few = rng.standard_normal((rows, 3)) @ rng.standard_normal((3, cols))
            gradient = few + 0.1 * rng.standard_normal((rows, cols))
            tensors[f"grad{update}/{name}"] = gradient.reshape(shape).astype(np.float32)
    return tensors


def run(given: dict[str, np.ndarray], orthogonal) -> dict[str, np.ndarray]:
    torch_muon._zeropower_via_newtonschulz = orthogonal
    weights = {name: torch.nn.Parameter(torch.from_numpy(given[f"weight/{name}"].copy()))
               for name in weight_shapes(CONFIG)}
    hidden = {name for name in weights if name.split(".")[-1] in PROJECTIONS}
    rest = [(name, weight) for name, weight in weights.items() if name not in hidden]
    muon = torch.optim.Muon([weights[name] for name in hidden], lr=LR, weight_decay=WEIGHT_DECAY, momentum=0.95,
                            nesterov=True, ns_coefficients=(3.4445, -4.775, 2.0315), eps=1e-7, ns_steps=5,
                            adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([{"params": [w for _, w in rest if w.dim() == 2], "weight_decay": WEIGHT_DECAY},
                               {"params": [w for _, w in rest if w.dim() == 1], "weight_decay": 0.0}],
                              lr=LR, betas=(0.9, 0.95), eps=1e-8)
    result = {}
    for update in range(UPDATES):
        for name, weight in weights.items():
            weight.grad = torch.from_numpy(given[f"grad{update}/{name}"])
        muon.step()
        adamw.step()
        result |= {f"after{update}/{name}": weight.detach().numpy().copy() for name, weight in weights.items()}
    return result


def distance(a: dict, b: dict) -> float:
    """The largest difference in units of the largest element of its tensor."""
    return max(float(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max()) for name in b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file instead of writing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    given = draw()
    result = run(given, iteration(torch.float32))
    print(f"float64 differs by {distance(run(given, iteration(torch.float64)), result):.1e}, "
          f"torch's bfloat16 by {distance(run(given, TORCH_OWN), result):.1e}")
    if args.check:
        moved = distance(result | given, load_file(OUT))
        print(f"the committed file differs by {moved:.1e}")
        raise SystemExit(moved > 1e-5)
    save_file(given | result, OUT)


if __name__ == "__main__":
    main()

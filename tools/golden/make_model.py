#!/usr/bin/env python3
"""Writes tests/golden/model: tiny models with their logits, loss, gradients and ten losses.

    python tools/golden/make_model.py            # rewrite every case (README.md says what is in a file)
    python tools/golden/make_model.py --check    # recompute and compare with the committed files

The stored numbers are float32. Each case is also run in float64 and, for the ten losses, from
weights perturbed in their last bits; the differences are printed and kept in cases.json as
`trust`, so that the tolerances of the tests rest on measurements.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from bitnet import IGNORE, PROJECTIONS, Config, Model, int8, loss, ternary, weight_shapes

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "model"
# No quantised value of the forward pass is nearer to a rounding tie, in units of one code.
# Float order moves a scaled activation by up to 1.5e-4 (a relative 1e-6 of 127), a weight by 1e-6.
ACTIVATION_MARGIN = 1e-3
WEIGHT_MARGIN = 1e-4
STEPS = 10
OPTIMISERS = {"loss10": torch.optim.AdamW, "loss10_adam": torch.optim.Adam}  # Adam's decay is coupled L2
HYPERPARAMETERS = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8}
WEIGHT_DECAY = 0.1
CLIP = 1.0
# Over ten updates some value does come close to a tie, and one changed code then moves all that follows
# (up to 6e-3 of the loss). So targets are drawn until runs from perturbed weights agree on all ten losses.
PERTURBATION = 1e-7  # relative; a float32 rounds by 6e-8
PERTURBED_RUNS = 4
STEADY = 1e-4
TARGET_DRAWS = 20


@dataclass(frozen=True)
class Case:
    name: str
    model: Config
    batch: int = 2
    time: int = 16
    lam: float = 1.0
    documents: bool = False  # several documents in a window, attention masked to each
    ignored: float = 0.0  # share of targets that are not scored
    z_loss: float = 0.0
    label_smoothing: float = 0.0


def config(**changes) -> Config:
    base = dict(hidden=32, layers=2, heads=4, kv_heads=2, head_size=8, ffn=48, vocabulary=61, context=32)
    return Config(**(base | changes))


INSIDE = dict(norm_placement="inside", kv_heads=4)
CASES = [
    Case("untied-relu2-sub-gqa-lambda1", config()),
    Case("untied-relu2-sub-gqa-lambda05", config(), lam=0.5),
    Case("untied-relu2-sub-gqa-lambda0", config(), lam=0.0),
    Case("tied-relu2-sub-mha-lambda1", config(tied=True, kv_heads=4, ffn=40, vocabulary=97), time=24),
    Case("tied-silu-plain-gqa-lambda1", config(tied=True, activation="silu", sub_norms=False)),
    Case("untied-silu-plain-mha-interleaved-lambda05",
         config(activation="silu", sub_norms=False, kv_heads=4, rope_style="interleaved"), lam=0.5),
    Case("wide-heads-interleaved-lambda1",  # N·D differs from H
         config(hidden=40, head_size=16, ffn=56, rope_style="interleaved", rope_theta=500000.0, norm_epsilon=1e-6)),
    Case("inside-untied-relu2-lambda1", config(**INSIDE)),
    Case("inside-tied-silu-interleaved-lambda05",
         config(**INSIDE, tied=True, activation="silu", rope_style="interleaved"), lam=0.5),
    Case("documents-untied-relu2-lambda1", config(), time=24, documents=True, ignored=0.2),
    Case("documents-tied-silu-mqa-lambda0",
         config(tied=True, activation="silu", kv_heads=1), lam=0.0, time=24, documents=True, ignored=0.2),
    Case("z-smoothing-documents-lambda1",
         config(ffn=72), time=13, documents=True, ignored=0.3, z_loss=0.01, label_smoothing=0.1),
    Case("z-tied-lambda05", config(tied=True, kv_heads=4), lam=0.5, z_loss=0.02),
    Case("smoothing-dense-untied-silu", config(linear="dense", activation="silu"), ignored=0.1, label_smoothing=0.2),
]


# Drawing a case ---------------------------------------------------------------------------------


def tie_distance(scaled: torch.Tensor) -> torch.Tensor:
    """Distance of each value from the nearest n + 1/2."""
    return (scaled - torch.floor(scaled) - 0.5).abs()


def weight_ties(w: torch.Tensor) -> torch.Tensor:
    """Which weights a rounding error could give another code (beyond 1 the clip decides alike)."""
    scaled = w / ternary(w)[1]
    return (tie_distance(scaled) < WEIGHT_MARGIN) & (scaled.abs() < 1)


def draw_weight(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.from_numpy((1 + 0.25 * rng.standard_normal(shape)).astype(np.float32))
    std = {"embedding": 0.3, "head": 0.2}.get(name, rng.uniform(0.1, 0.25))

    def draw(size):
        return torch.from_numpy((std * rng.standard_normal(size)).astype(np.float32))

    w = draw(shape)
    if name.split(".")[-1] in PROJECTIONS:
        while (ties := weight_ties(w)).any():
            w[ties] = draw(int(ties.sum()))
    return w


def draw_starts(case: Case, rng: np.random.Generator) -> torch.Tensor:
    shape = (case.batch, case.time)
    position = np.arange(case.time)
    first = (rng.random(shape) < 0.2) & case.documents | (position == 0)
    return torch.from_numpy(np.maximum.accumulate(np.where(first, position, 0), axis=1))


def activation_distance(case: Case, weights: dict, tokens: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """(B, T): the smallest tie distance of all that is quantised at that position."""
    record = {}
    with torch.no_grad():
        Model(case.model, weights, case.lam, record).logits(tokens, starts)
    distances = [tie_distance(x * int8(x)[1]).amin(dim=-1) for x, _ in record.values()]
    return torch.stack(distances).amin(dim=0) if distances else torch.full(tokens.shape, torch.inf)


def draw_tokens(case: Case, weights: dict, starts: torch.Tensor, rng: np.random.Generator) -> torch.Tensor | None:
    """Position after position, draws until no activation there is near a tie; None if that fails."""

    def draw(size):
        return torch.from_numpy(rng.integers(case.model.vocabulary, size=size))

    tokens = draw((case.batch, case.time))
    for t in range(case.time if case.lam > 0 else 0):
        for _ in range(200):
            near = activation_distance(case, weights, tokens[:, : t + 1], starts[:, : t + 1])[:, t] < ACTIVATION_MARGIN
            if not near.any():
                break
            tokens[near, t] = draw(int(near.sum()))
    clear = case.lam == 0 or activation_distance(case, weights, tokens, starts).min() >= ACTIVATION_MARGIN
    return tokens if clear else None


def draw(case: Case) -> tuple[int, dict, dict]:
    """(seed, weights, batch) of the first seed that is clear of ties and has steady ten losses."""
    for seed in range(100):
        rng = np.random.default_rng([seed, CASES.index(case)])
        weights = {name: draw_weight(name, shape, rng) for name, shape in weight_shapes(case.model).items()}
        starts = draw_starts(case, rng)
        tokens = draw_tokens(case, weights, starts, rng)
        for _ in range(TARGET_DRAWS if tokens is not None else 0):
            targets = torch.from_numpy(rng.integers(case.model.vocabulary, size=tokens.shape))
            targets[torch.from_numpy(rng.random(tokens.shape) < case.ignored)] = IGNORE
            batch = {"tokens": tokens, "targets": targets, "starts": starts}
            if unsteadiness(case, weights, batch, STEADY) <= STEADY:
                return seed, weights, batch
    raise SystemExit(f"{case.name}: no seed clear of rounding ties; make the case smaller")


# Running a case ---------------------------------------------------------------------------------


def gradients(case: Case, weights: dict, batch: dict) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """(logits (B, T, V), loss, gradient of every weight), in the weights' own precision."""
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    logits = Model(case.model, leaves, case.lam).logits(batch["tokens"], batch["starts"])
    value = loss(logits, batch["targets"], case.z_loss, case.label_smoothing)
    value.backward()
    return logits.detach(), value.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def ten_losses(case: Case, weights: dict, batch: dict, optimiser: type[torch.optim.Optimizer]) -> torch.Tensor:
    """The loss before each of ten updates on the same batch."""
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    groups = [
        {"params": [w for w in leaves.values() if w.dim() == 2], "weight_decay": WEIGHT_DECAY},
        {"params": [w for w in leaves.values() if w.dim() == 1], "weight_decay": 0.0},
    ]
    update = optimiser(groups, **HYPERPARAMETERS)
    losses = []
    for _ in range(STEPS):
        update.zero_grad()
        logits = Model(case.model, leaves, case.lam).logits(batch["tokens"], batch["starts"])
        value = loss(logits, batch["targets"], case.z_loss, case.label_smoothing)
        value.backward()
        torch.nn.utils.clip_grad_norm_(leaves.values(), CLIP)
        update.step()
        losses.append(value.detach())
    return torch.stack(losses)


def integer_parts(case: Case, weights: dict, batch: dict) -> dict[str, torch.Tensor]:
    """Layer 0 at λ = 1: codes and scales, and the integer products of q and down."""
    record = {}
    with torch.no_grad():
        Model(case.model, weights, 1.0, record).logits(batch["tokens"], batch["starts"])
    parts = {}
    for projection in PROJECTIONS:
        name = f"layers.0.{projection}"
        x, w = record[name]
        w_codes, gamma = ternary(w)
        parts[f"codes/{name}.weight"] = w_codes.to(torch.int8)
        parts[f"gamma/{name}.weight"] = gamma.reshape(1)
        if projection in ("q", "down"):
            x_codes, s = int8(x)
            parts[f"codes/{name}.input"] = x_codes.to(torch.int8)  # (B, T, in)
            parts[f"scale/{name}.input"] = s.squeeze(-1)  # (B, T)
            parts[f"sum/{name}"] = (x_codes @ w_codes.T).to(torch.int32)  # (B, T, out), exact
    return parts


def compute(case: Case, weights: dict, batch: dict) -> dict[str, torch.Tensor]:
    """Everything that a case's file holds beside weights and batch."""
    logits, value, grads = gradients(case, weights, batch)
    result = {"logits": logits, "loss": value.reshape(1)}
    result |= {f"grad/{name}": g for name, g in grads.items()}
    result |= {name: ten_losses(case, weights, batch, optimiser) for name, optimiser in OPTIMISERS.items()}
    if case.lam == 1 and case.model.linear == "ternary":
        result |= integer_parts(case, weights, batch)
    return result


# Measuring how far float32 can be trusted -------------------------------------------------------


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest |a − b| in units of the largest |b|."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


def perturbed(weights: dict, rng: np.random.Generator) -> dict:
    return {name: (w * (1 + PERTURBATION * torch.from_numpy(rng.standard_normal(w.shape)))).float()
            for name, w in weights.items()}


def unsteadiness(case: Case, weights: dict, batch: dict, enough: float = math.inf) -> float:
    """Largest relative difference of ten losses in float64 and from perturbed weights; stops once beyond `enough`."""
    rng = np.random.default_rng(1)
    references = [(optimiser, ten_losses(case, weights, batch, optimiser)) for optimiser in OPTIMISERS.values()]
    worst = 0.0
    for run in range(1 + PERTURBED_RUNS):
        other = perturbed(weights, rng) if run else {name: w.double() for name, w in weights.items()}
        for optimiser, reference in references:
            worst = max(worst, relative(ten_losses(case, other, batch, optimiser), reference))
            if worst > enough:
                return worst
    return worst


def trust(case: Case, weights: dict, batch: dict, result: dict) -> dict[str, float]:
    """Relative differences: float32 against float64, and the unsteadiness of the ten losses."""
    logits, value, grads = gradients(case, {name: w.double() for name, w in weights.items()}, batch)
    measured = {
        "logits": relative(result["logits"], logits),
        "loss": relative(result["loss"], value),
        "grad": max(relative(result[f"grad/{name}"], g) for name, g in grads.items()),
        "loss10": unsteadiness(case, weights, batch),
    }
    return {name: float(f"{value:.2g}") for name, value in measured.items()}


# Files ------------------------------------------------------------------------------------------


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.int64:
        tensor = tensor.to(torch.int32)
    return np.ascontiguousarray(tensor.numpy())


def make(case: Case) -> dict:
    """Writes one file and returns its entry in cases.json."""
    seed, weights, batch = draw(case)
    result = compute(case, weights, batch)
    tensors = {f"weight/{name}": w for name, w in weights.items()} | batch | result
    path = OUT / f"{case.name}.safetensors"
    save_file({name: to_numpy(t) for name, t in tensors.items()}, path)
    measured = trust(case, weights, batch, result)
    losses = result["loss10"]
    print(f"{case.name:<44}{path.stat().st_size / 1000:>6.0f} kB  seed {seed:<5} loss {losses[0]:.4f} → {losses[-1]:.4f}  "
          + "  ".join(f"{name} {value:.1e}" for name, value in measured.items()), flush=True)
    return {
        "name": case.name,
        "file": path.name,
        "model": asdict(case.model),
        "lambda": case.lam,
        "documents": case.documents,
        "z_loss": case.z_loss,
        "label_smoothing": case.label_smoothing,
        "seed": seed,
        "trust": measured,
    }


def write_all() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    document = {
        "optimiser": HYPERPARAMETERS | {"weight_decay": WEIGHT_DECAY, "clip": CLIP, "steps": STEPS},
        "activation_margin": ACTIVATION_MARGIN,
        "weight_margin": WEIGHT_MARGIN,
        "cases": [make(case) for case in CASES],
    }
    (OUT / "cases.json").write_text(json.dumps(document, indent=1) + "\n")
    worst = {name: max(entry["trust"][name] for entry in document["cases"]) for name in document["cases"][0]["trust"]}
    print("worst:", worst, "total:", sum(f.stat().st_size for f in OUT.iterdir()) // 1000, "kB")


def check_all() -> None:
    """Recomputes from the stored weights and batch; exits 1 when a number has moved."""
    moved = 0
    for case in CASES:
        stored = {name: torch.from_numpy(t) for name, t in load_file(OUT / f"{case.name}.safetensors").items()}
        weights = {name.removeprefix("weight/"): t for name, t in stored.items() if name.startswith("weight/")}
        batch = {name: stored[name].long() for name in ("tokens", "targets", "starts")}
        for name, value in compute(case, weights, batch).items():
            limit = 5e-3 if name.startswith("loss10") else 1e-5 if value.is_floating_point() else 0.0
            if (difference := relative(value, stored[name])) > limit:
                moved += 1
                print(f"{case.name}: {name} differs by {difference:.1e} (limit {limit})")
    print(f"{len(CASES)} cases checked, {moved} tensors differ")
    raise SystemExit(moved > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    check_all() if args.check else write_all()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tests/golden/distill: a tiny student, two teachers, and every distillation loss with all its gradients.

    python tools/golden/distill.py            # rewrite (README.md says what is in a file)
    python tools/golden/distill.py --check    # recompute and compare with the committed files

The losses (T the scored positions of the batch, n their number):

    cross entropy   1/n Σ_T −log p[target]
    logits          τ²/n Σ_T KL(softmax(t/τ) ‖ softmax(s/τ)), over all tokens or the teacher's K likeliest, renormalised
    relation        1/n Σ over Φ ∈ {Q, K, V}, heads (or their mean) and all positions of KL(R_T ‖ R_S), R = softmax(ΦΦᵀ/√d)
    hidden          1/n Σ_T Σ_l w_l · difference of the states after layer l
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file

from bitnet import IGNORE, Config, Model, loss, rope, weight_shapes
from make_model import Case, draw_starts, draw_tokens, draw_weight, relative, to_numpy

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "distill"
LAMBDAS = (0.0, 0.3, 1.0)
SIZES = dict(vocabulary=29, context=16, head_size=8, tied=True)
STUDENT = Config(hidden=16, layers=2, heads=2, kv_heads=1, ffn=24, **SIZES)
TEACHERS = {
    "narrow": Config(hidden=16, layers=3, heads=2, kv_heads=2, ffn=32, linear="dense", **SIZES),
    "wide": Config(hidden=24, layers=3, heads=4, kv_heads=2, ffn=40, linear="dense", activation="silu", **SIZES),
}
BATCH, TIME, IGNORED = 2, 12, 0.25
ONLY = {"logits": 0.0}  # nothing from the next-token distributions
# name -> (teacher, the [distill] table)
LESSONS = {
    "logits": ("wide", {"cross_entropy": 0.7, "logits": 1.3, "temperature": 2.5}),
    "top-k": ("wide", {"cross_entropy": 0.0, "logits": 1.0, "temperature": 5.0, "top_k": 7}),
    "relation-mean": ("wide", ONLY | {"relation": 2.0, "relation_layer": 1, "relation_reduction": "mean", "relation_heads": 2}),
    "relation-sum": ("narrow", ONLY | {"relation": 0.5, "relation_layer": 0, "relation_reduction": "sum", "relation_heads": 4}),
} | {
    f"hidden-{kind}-{layers}": ("narrow", ONLY | {"hidden": 1.5, "hidden_kind": kind, "hidden_layers": layers})
    for kind in ("mse", "normalised-mse", "cosine")
    for layers in ("uniform", "progressive", "exponential")
}


class Tapped(Model):
    """A model that keeps its heads before the rotation, and the state after every layer."""

    def logits(self, tokens, starts):
        self.kept, self.states = {}, []
        return super().logits(tokens, starts)

    def heads(self, name, x):
        self.kept[name] = super().heads(name, x)
        return self.kept[name]

    def block(self, layer, x, starts):
        self.states.append(super().block(layer, x, starts))
        return self.states[-1]

    def qkv(self, layer: int) -> list[torch.Tensor]:
        """Three of (B, T, W): rotated queries and keys, and values."""
        c = self.config
        q, k, v = (self.kept[f"layers.{layer}.{name}"] for name in "qkv")
        rotated = [rope(x, c.rope_theta, c.rope_style) for x in (q, k)]
        return [x.transpose(1, 2).flatten(-2) for x in (*rotated, v)]


def same_height(layer: int, student: int, teacher: int) -> int:
    return -(-(layer + 1) * teacher // student) - 1


def kl(log_t: torch.Tensor, log_s: torch.Tensor) -> torch.Tensor:
    return (log_t.exp() * (log_t - log_s)).sum(dim=-1)


def of_logits(s: torch.Tensor, t: torch.Tensor, table: dict) -> torch.Tensor:
    """s, t (n, V)"""
    if k := table.get("top_k", 0):
        t, likeliest = t.topk(k, dim=-1)
        s = s.gather(-1, likeliest)
    tau = table.get("temperature", 2.0)
    return tau**2 * kl((t / tau).log_softmax(-1), (s / tau).log_softmax(-1)).mean()


def relations(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, T, W) → log R (B, heads, T, T)"""
    x = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    return (x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5).log_softmax(-1)


def of_relations(student: Tapped, teacher: Tapped, table: dict, scored: int) -> torch.Tensor:
    layer, heads = table["relation_layer"], table["relation_heads"]
    above = same_height(layer, student.config.layers, teacher.config.layers)
    pairs = zip(student.qkv(layer), teacher.qkv(above))
    total = sum(kl(relations(t, heads), relations(s, heads)).sum() for s, t in pairs)
    return total / scored / (heads if table["relation_reduction"] == "mean" else 1)


def of_hidden(student: Tapped, teacher: Tapped, table: dict, scored: torch.Tensor) -> torch.Tensor:
    layers = student.config.layers
    raw = {"uniform": [1.0] * layers, "progressive": [l + 1.0 for l in range(layers)],
           "exponential": [2.0**l for l in range(layers)]}[table["hidden_layers"]]
    total = 0.0
    for layer, weight in enumerate(raw):
        s = student.states[layer][scored]
        t = teacher.states[same_height(layer, layers, teacher.config.layers)][scored]
        match table["hidden_kind"]:
            case "mse":
                value = (s - t).square().mean(-1)
            case "normalised-mse":
                rms = [x / x.square().mean(-1, keepdim=True).sqrt() for x in (s, t)]
                value = (rms[0] - rms[1]).square().mean(-1)
            case "cosine":
                value = 1 - F.cosine_similarity(s, t, dim=-1, eps=0)
        total = total + weight / sum(raw) * value.mean()
    return total


def compute(lam: float, lesson: str, weights: dict, teachers: dict, batch: dict) -> dict[str, torch.Tensor]:
    """`losses`: cross entropy and the lesson's own, unweighted; `grad/NAME` of their weighted sum."""
    whose, table = LESSONS[lesson]
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    student, teacher = Tapped(STUDENT, leaves, lam), Tapped(TEACHERS[whose], teachers[whose], 1.0)
    logits = student.logits(batch["tokens"], batch["starts"])
    with torch.no_grad():
        theirs = teacher.logits(batch["tokens"], batch["starts"])
    scored = batch["targets"] != IGNORE
    if "relation" in table:
        own, weight = of_relations(student, teacher, table, int(scored.sum())), table["relation"]
    elif "hidden" in table:
        own, weight = of_hidden(student, teacher, table, scored), table["hidden"]
    else:
        own, weight = of_logits(logits[scored], theirs[scored], table), table["logits"]
    text = loss(logits, batch["targets"])
    (table.get("cross_entropy", 1.0) * text + weight * own).backward()
    result = {"losses": torch.stack([text.detach(), own.detach()])}
    return result | {f"grad/{name}": leaf.grad for name, leaf in leaves.items()}


def draw(lam: float) -> tuple[dict, dict]:
    """(weights, batch) of the first seed clear of rounding ties."""
    case = Case("student", STUDENT, batch=BATCH, time=TIME, lam=lam, documents=True)
    for seed in range(100):
        rng = np.random.default_rng([seed, LAMBDAS.index(lam)])
        weights = {name: draw_weight(name, shape, rng) for name, shape in weight_shapes(STUDENT).items()}
        starts = draw_starts(case, rng)
        if (tokens := draw_tokens(case, weights, starts, rng)) is not None:
            targets = torch.from_numpy(rng.integers(STUDENT.vocabulary, size=tokens.shape))
            targets[torch.from_numpy(rng.random(tokens.shape) < IGNORED)] = IGNORE
            return weights, {"tokens": tokens, "targets": targets, "starts": starts}
    raise SystemExit(f"λ {lam}: no seed clear of rounding ties")


def draw_teachers() -> dict[str, dict]:
    rng = np.random.default_rng(7)
    return {whose: {name: draw_weight(name, shape, rng) for name, shape in weight_shapes(config).items()}
            for whose, config in TEACHERS.items()}


def trust(lam: float, weights: dict, teachers: dict, batch: dict, results: dict) -> dict[str, float]:
    """The worst relative difference of float32 from float64."""
    worst = {"losses": 0.0, "grad": 0.0}
    exact_teachers = {whose: {n: w.double() for n, w in own.items()} for whose, own in teachers.items()}
    for lesson, result in results.items():
        exact = compute(lam, lesson, {n: w.double() for n, w in weights.items()}, exact_teachers, batch)
        for name, value in result.items():
            kind = name.split("/")[0]
            worst[kind] = max(worst[kind], relative(value, exact[name]))
    return {name: float(f"{value:.2g}") for name, value in worst.items()}


def write_all() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    teachers = draw_teachers()
    flat = {f"{whose}/{name}": to_numpy(w) for whose, own in teachers.items() for name, w in own.items()}
    save_file(flat, OUT / "teachers.safetensors")
    cases = []
    for lam in LAMBDAS:
        weights, batch = draw(lam)
        results = {lesson: compute(lam, lesson, weights, teachers, batch) for lesson in LESSONS}
        tensors = {f"weight/{name}": w for name, w in weights.items()} | batch
        tensors |= {f"{lesson}/{name}": t for lesson, result in results.items() for name, t in result.items()}
        file = f"lambda-{lam}.safetensors"
        save_file({name: to_numpy(t) for name, t in tensors.items()}, OUT / file)
        measured = trust(lam, weights, teachers, batch, results)
        print(file, (OUT / file).stat().st_size // 1000, "kB", measured, flush=True)
        cases.append({"lambda": lam, "file": file, "trust": measured})
    document = {
        "student": asdict(STUDENT),
        "teachers": {name: asdict(config) for name, config in TEACHERS.items()},
        "lessons": [{"name": name, "teacher": whose, "distill": table} for name, (whose, table) in LESSONS.items()],
        "cases": cases,
    }
    (OUT / "cases.json").write_text(json.dumps(document, indent=1) + "\n")


def check_all() -> None:
    moved = 0
    stored = {name: torch.from_numpy(t) for name, t in load_file(OUT / "teachers.safetensors").items()}
    teachers = {whose: {name.removeprefix(f"{whose}/"): t for name, t in stored.items() if name.startswith(f"{whose}/")}
                for whose in TEACHERS}
    for lam in LAMBDAS:
        stored = {name: torch.from_numpy(t) for name, t in load_file(OUT / f"lambda-{lam}.safetensors").items()}
        weights = {name.removeprefix("weight/"): t for name, t in stored.items() if name.startswith("weight/")}
        batch = {name: stored[name].long() for name in ("tokens", "targets", "starts")}
        for lesson in LESSONS:
            for name, value in compute(lam, lesson, weights, teachers, batch).items():
                if (difference := relative(value, stored[f"{lesson}/{name}"])) > 1e-5:
                    moved += 1
                    print(f"λ {lam}, {lesson}: {name} differs by {difference:.1e}")
    print(f"{len(LAMBDAS)} λ × {len(LESSONS)} lessons checked, {moved} tensors differ")
    raise SystemExit(moved > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    check_all() if args.check else write_all()


if __name__ == "__main__":
    main()

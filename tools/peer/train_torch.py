#!/usr/bin/env python3
"""Trains a BitNet with PyTorch on given weights and batches: the peer for loss curves and speed.

    python train_torch.py --initial initial.safetensors --batches batches.safetensors --config run.json

initial.safetensors  latent float32 weights under the project's tensor names
batches.safetensors  `tokens`, `targets`, `starts`, each (S, B, T) of 32-bit integers; a target of
                     0xFFFFFFFF is not scored; starts is needed only for a document mask
run.json             {"model": {…}, "lr": …, "weight_decay": …, "lambda": 1.0, "clip": 1.0,
                     "betas": [0.9, 0.95], "epsilon": 1e-8, "optimizer": "adamw" | "adam",
                     "document_mask": false}; lr, weight_decay and lambda: a number, or one per step

One JSON line a step; the last line holds the median speed. Weight decay acts on matrices only.
B batch, T time, H hidden, F ffn, V vocabulary, N query heads, K key-value heads, D head size.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.numpy import load_file

IGNORE = -1
EPSILON = 1e-5  # of both quantisers
MODEL_DEFAULTS = {
    "rope_theta": 10000.0, "rope_style": "rotate-half", "activation": "relu2", "sub_norms": True,
    "norm_placement": "outside", "norm_epsilon": 1e-5, "tied": False, "linear": "ternary",
}
RUN_DEFAULTS = {
    "lambda": 1.0, "clip": 1.0, "betas": [0.9, 0.95], "epsilon": 1e-8, "optimizer": "adamw", "document_mask": False,
}


# Quantisation: values rounded in the forward pass, gradients passed through --------------------------


class TernaryWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, lam):
        gamma = w.abs().mean().clamp(min=EPSILON)
        quantised = (w / gamma).round_().clamp_(-1, 1).mul_(gamma)
        return quantised if lam is None else torch.lerp(w, quantised, lam)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Int8Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, lam):
        s = 127 / x.abs().amax(dim=-1, keepdim=True).clamp(min=EPSILON)
        quantised = (x * s).round_().div_(s)  # |x·s| ≤ 127: the clip could never act
        return quantised if lam is None else torch.lerp(x, quantised, lam.to(x.dtype))

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


# Model ------------------------------------------------------------------------------------------------


def rope_tables(time: int, size: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, each (T, D/2)."""
    frequency = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(time, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def rms_norm(x: torch.Tensor, gain: torch.Tensor | None, epsilon: float) -> torch.Tensor:
    """Under autocast x may be bf16; PyTorch's fused kernel wants the gain in the same type."""
    return F.rms_norm(x, x.shape[-1:], None if gain is None else gain.to(x.dtype), epsilon)


class Block(nn.Module):
    def __init__(self, m: dict):
        super().__init__()
        self.m = m
        h, f, q, kv = m["hidden"], m["ffn"], m["heads"] * m["head_size"], m["kv_heads"] * m["head_size"]
        matrices = {"q": (q, h), "k": (kv, h), "v": (kv, h), "o": (h, q), "gate": (f, h), "up": (f, h), "down": (h, f)}
        for name, shape in matrices.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        outside = m["norm_placement"] == "outside"
        for name, width in {"attn_norm": h, "ffn_norm": h, "attn_sub_norm": q, "ffn_sub_norm": f}.items():
            exists = outside and (m["sub_norms"] or "sub" not in name)
            self.register_parameter(name, nn.Parameter(torch.ones(width)) if exists else None)

    def norm(self, x, gain):
        inside = self.m["norm_placement"] == "inside"
        return rms_norm(x, gain, self.m["norm_epsilon"]) if inside or gain is not None else x

    def linears(self, x, weights, lam):
        """The same input through several BitLinears: it is quantised once."""
        if self.m["linear"] == "dense":
            return [F.linear(x, w) for w in weights]
        x = Int8Activation.apply(x, lam)
        return [F.linear(x, TernaryWeight.apply(w, lam)) for w in weights]

    def heads(self, x):
        return x.unflatten(-1, (-1, self.m["head_size"])).transpose(1, 2)  # (B, ·, T, D)

    def rotate(self, x, cos, sin):
        if self.m["rope_style"] == "rotate-half":
            a, b = x.chunk(2, dim=-1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)

    def attention(self, x, cos, sin, mask, lam):
        q, k, v = map(self.heads, self.linears(self.norm(x, self.attn_norm), (self.q, self.k, self.v), lam))
        # Under autocast RoPE gives float32; attention wants one dtype.
        q, k = self.rotate(q, cos, sin).to(v.dtype), self.rotate(k, cos, sin).to(v.dtype)
        if (group := self.m["heads"] // self.m["kv_heads"]) > 1:
            k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        y = self.norm(y.transpose(1, 2).flatten(-2), self.attn_sub_norm)
        return self.linears(y, [self.o], lam)[0]

    def feed_forward(self, x, lam):
        gate, up = self.linears(self.norm(x, self.ffn_norm), (self.gate, self.up), lam)
        gate = F.relu(gate).square() if self.m["activation"] == "relu2" else F.silu(gate)
        return self.linears(self.norm(gate * up, self.ffn_sub_norm), [self.down], lam)[0]

    def forward(self, x, cos, sin, mask, lam):
        x = x + self.attention(x, cos, sin, mask, lam)
        return x + self.feed_forward(x, lam)


class BitNet(nn.Module):
    """Its parameters carry the project's tensor names. Returns the mean cross-entropy in nats."""

    def __init__(self, model: dict, time: int):
        super().__init__()
        m = MODEL_DEFAULTS | model
        self.m = m
        self.embedding = nn.Parameter(torch.empty(m["vocabulary"], m["hidden"]))
        self.layers = nn.ModuleList(Block(m) for _ in range(m["layers"]))
        self.final_norm = nn.Parameter(torch.ones(m["hidden"]))
        self.head = None if m["tied"] else nn.Parameter(torch.empty(m["vocabulary"], m["hidden"]))
        cos, sin = rope_tables(time, m["head_size"], m["rope_theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens, targets, mask=None, lam=None):
        """tokens, targets (B, T); mask (B, 1, T, T) or None (causal); lam a 0-d tensor or None (1)."""
        x = F.embedding(tokens, self.embedding)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, mask, lam)
        x = rms_norm(x, self.final_norm, self.m["norm_epsilon"])
        logits = F.linear(x, self.embedding if self.head is None else self.head)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def document_mask(starts: torch.Tensor) -> torch.Tensor:
    """starts (B, T) → (B, 1, T, T): position i sees starts[i]..=i."""
    position = torch.arange(starts.shape[1])
    return ((position <= position[:, None]) & (position >= starts[..., None]))[:, None]


# Training ---------------------------------------------------------------------------------------------


class Trainer:
    def __init__(self, model: BitNet, run: dict, dtype: str, compile_model: bool):
        run = RUN_DEFAULTS | run
        self.parameters = list(model.parameters())
        self.loss = torch.compile(model) if compile_model else model
        self.autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16")
        self.clip = run["clip"]
        # Adam couples its decay to the gradient (L2), AdamW does not.
        optimiser = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[run["optimizer"]]
        groups = [{"params": [p for p in self.parameters if p.dim() == 2]},
                  {"params": [p for p in self.parameters if p.dim() == 1]}]
        self.optimiser = optimiser(groups, betas=tuple(run["betas"]), eps=run["epsilon"], fused=True)

    def step(self, parts: list[tuple], lr: float, weight_decay: float) -> tuple[float, float]:
        """(loss, gradient norm before clipping) of a batch in parts, each what the model's forward takes: the memory
        of one part, the mean over the scored targets of all."""
        matrices, vectors = self.optimiser.param_groups
        matrices["lr"] = vectors["lr"] = lr
        matrices["weight_decay"], vectors["weight_decay"] = weight_decay, 0.0
        scored = [int((targets != IGNORE).sum()) for _, targets, *_ in parts]
        shares = [count / sum(scored) for count in scored]
        total = 0.0
        for part, share in zip(parts, shares):
            with self.autocast:
                loss = self.loss(*part) * share
            loss.backward()
            total += loss.item()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return total, norm.item()


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp64"], default="fp32",
                        help="bf16 is autocast: float32 weights and optimiser")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compile", action="store_true", help="torch.compile the model and the loss")


def parts_of(batches: dict[str, torch.Tensor], step: int, size: int, masked: bool, lam: float | None) -> list[tuple]:
    """Batch `step` as parts of `size` sequences."""
    tokens, targets = batches["tokens"][step].split(size), batches["targets"][step].split(size)
    masks = [document_mask(starts) for starts in batches["starts"][step].split(size)] if masked else [None] * len(tokens)
    blend = None if lam is None else torch.tensor(lam)
    return [(*part, blend) for part in zip(tokens, targets, masks)]


def per_step(value: float | list[float], steps: int) -> list[float]:
    return value if isinstance(value, list) else [value] * steps


def load_batches(path: Path) -> dict[str, torch.Tensor]:
    """int64 tensors (S, B, T); 0xFFFFFFFF reads as IGNORE whether it was stored signed or not."""
    return {name: torch.from_numpy(a.astype("int32").astype("int64")) for name, a in load_file(path).items()}


def load_model(model: dict, path: Path, time: int) -> BitNet:
    result = BitNet(model, time)
    result.load_state_dict({name: torch.from_numpy(a) for name, a in load_file(path).items()})
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--initial", type=Path, required=True)
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="fewer than the batches hold")
    parser.add_argument("--part", type=int, help="sequences to compute at a time (default: the whole batch)")
    add_engine_arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    run = RUN_DEFAULTS | json.loads(args.config.read_text())
    batches = load_batches(args.batches)
    steps, batch, sequence = batches["tokens"].shape
    steps = min(steps, args.steps or steps)
    lr, decay, lam = (per_step(run[key], steps) for key in ("lr", "weight_decay", "lambda"))
    quantised = all(value == 1 for value in lam)
    model = load_model(run["model"], args.initial, sequence)
    trainer = Trainer(model.double() if args.dtype == "fp64" else model, run, args.dtype, args.compile)

    seconds = []
    for s in range(steps):
        start = time.perf_counter()
        parts = parts_of(batches, s, args.part or batch, run["document_mask"], None if quantised else lam[s])
        loss, norm = trainer.step(parts, lr[s], decay[s])
        seconds.append(time.perf_counter() - start)
        print(json.dumps({"step": s, "loss": loss, "grad_norm": norm, "seconds": round(seconds[-1], 6)}), flush=True)
    print(json.dumps({
        "framework": f"torch {torch.__version__}", "dtype": args.dtype, "compile": args.compile, "threads": args.threads,
        "steps": steps, "tokens_per_step": batch * sequence,
        "tokens_per_s": round(batch * sequence / statistics.median(seconds), 1),
    }))


if __name__ == "__main__":
    main()

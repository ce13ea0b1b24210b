"""The BitNet b1.58 family as a plain PyTorch function: the reference for the golden tests.

Written to be read beside the formulas, not to be fast. A model is a dictionary of latent weights
(float32 or float64), keyed by the project's tensor names; every matrix is `[out, in]`.
B batch, T time, H hidden, F ffn, V vocabulary, N query heads, K key-value heads, D head size.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

IGNORE = -1  # 0xFFFFFFFF read as a signed 32-bit integer: this target is not scored
QUANTISE_EPSILON = 1e-5
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Config:
    """The `[model]` table of a run configuration."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    ffn: int
    vocabulary: int
    context: int
    rope_theta: float = 10000.0
    rope_style: str = "rotate-half"  # or "interleaved"
    activation: str = "relu2"  # or "silu"
    sub_norms: bool = True
    norm_placement: str = "outside"  # or "inside": no gains, every BitLinear normalises its own input
    norm_epsilon: float = 1e-5
    tied: bool = False
    linear: str = "ternary"  # or "dense"


def weight_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model, in file order."""
    h, f, v = config.hidden, config.ffn, config.vocabulary
    q, kv = config.heads * config.head_size, config.kv_heads * config.head_size
    outside = config.norm_placement == "outside"
    sub_norms = outside and config.sub_norms
    shapes: dict[str, tuple[int, ...]] = {"embedding": (v, h)}
    for layer in range(config.layers):
        block = {
            "attn_norm": (h,) if outside else None,
            "q": (q, h),
            "k": (kv, h),
            "v": (kv, h),
            "attn_sub_norm": (q,) if sub_norms else None,
            "o": (h, q),
            "ffn_norm": (h,) if outside else None,
            "gate": (f, h),
            "up": (f, h),
            "ffn_sub_norm": (f,) if sub_norms else None,
            "down": (h, f),
        }
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in block.items() if shape}
    shapes["final_norm"] = (h,)
    if not config.tied:
        shapes["head"] = (v, h)
    return shapes


# Quantisation ---------------------------------------------------------------------------------


def ternary(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes in {-1, 0, 1} and the scale γ of the whole tensor: w ≈ γ · codes."""
    gamma = w.abs().mean().clamp(min=QUANTISE_EPSILON)
    return (w / gamma).round().clamp(-1, 1), gamma  # torch rounds half to even


def int8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes in [-128, 127] and the scale s (..., 1) of each token: x ≈ codes / s."""
    s = 127 / x.abs().amax(dim=-1, keepdim=True).clamp(min=QUANTISE_EPSILON)
    return (x * s).round().clamp(-128, 127), s


class StraightThrough(torch.autograd.Function):
    """Forward: the second argument, to the bit. Backward: the identity on the first."""

    @staticmethod
    def forward(ctx, x, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def blend(x: torch.Tensor, quantised: torch.Tensor, lam: float) -> torch.Tensor:
    """x + λ(x̂ − x), the bracket detached; exactly x at λ = 0 and exactly x̂ at λ = 1."""
    if lam == 0:
        return x
    value = quantised if lam == 1 else x + lam * (quantised - x)
    return StraightThrough.apply(x, value.detach())


# Layers ---------------------------------------------------------------------------------------


def rms_norm(x: torch.Tensor, epsilon: float, gain: torch.Tensor | None = None) -> torch.Tensor:
    y = x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + epsilon)
    return y if gain is None else y * gain


def rope(x: torch.Tensor, theta: float, style: str) -> torch.Tensor:
    """Rotates x (B, N, T, D); position = index inside the window, also under a document mask."""
    time, size = x.shape[-2:]
    frequency = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)  # (D/2)
    angle = torch.arange(time, dtype=torch.float64)[:, None] * frequency  # (T, D/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    if style == "rotate-half":  # pairs (i, i + D/2)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    a, b = x[..., 0::2], x[..., 1::2]  # pairs (2i, 2i + 1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """q (B, N, T, D), k and v (B, K, T, D), starts (B, T): position i sees starts[i]..=i."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    position = torch.arange(q.shape[2])
    seen = (position <= position[:, None]) & (position >= starts[..., None])  # (B, T, T)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~seen[:, None], -torch.inf).softmax(dim=-1) @ v


class Model:
    """One forward pass; `record`, if given, receives name → (input, weight) of every BitLinear."""

    def __init__(self, config: Config, weights: dict[str, torch.Tensor], lam: float, record: dict | None = None):
        self.config, self.weights, self.lam, self.record = config, weights, lam, record

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """RMSNorm with the gain called `name`; nothing if the model has no such norm."""
        gain = self.weights.get(name)
        return x if gain is None else rms_norm(x, self.config.norm_epsilon, gain)

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        w = self.weights[name]
        if self.config.norm_placement == "inside":
            x = rms_norm(x, self.config.norm_epsilon)
        if self.config.linear == "dense":
            return F.linear(x, w)
        if self.record is not None:
            self.record[name] = (x.detach(), w.detach())
        x_codes, s = int8(x.detach())
        w_codes, gamma = ternary(w.detach())
        return F.linear(blend(x, x_codes / s, self.lam), blend(w, w_codes * gamma, self.lam))

    def heads(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """(B, T, H) → (B, heads, T, D)"""
        return self.linear(name, x).unflatten(-1, (-1, self.config.head_size)).transpose(1, 2)

    def block(self, layer: str, x: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        c = self.config
        h = self.norm(f"{layer}.attn_norm", x)
        q = rope(self.heads(f"{layer}.q", h), c.rope_theta, c.rope_style)
        k = rope(self.heads(f"{layer}.k", h), c.rope_theta, c.rope_style)
        y = attention(q, k, self.heads(f"{layer}.v", h), starts).transpose(1, 2).flatten(-2)
        x = x + self.linear(f"{layer}.o", self.norm(f"{layer}.attn_sub_norm", y))
        h = self.norm(f"{layer}.ffn_norm", x)
        gate = self.linear(f"{layer}.gate", h)
        gate = F.relu(gate).square() if c.activation == "relu2" else F.silu(gate)
        y = gate * self.linear(f"{layer}.up", h)
        return x + self.linear(f"{layer}.down", self.norm(f"{layer}.ffn_sub_norm", y))

    def logits(self, tokens: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """tokens, starts (B, T) → (B, T, V)"""
        x = self.weights["embedding"][tokens]
        for layer in range(self.config.layers):
            x = self.block(f"layers.{layer}", x, starts)
        return F.linear(self.norm("final_norm", x), self.weights.get("head", self.weights["embedding"]))


def loss(logits: torch.Tensor, targets: torch.Tensor, z: float = 0.0, smoothing: float = 0.0) -> torch.Tensor:
    """Mean over the scored positions of −(1−ε)·log p[target] − ε·mean_v(log p[v]) + z·logsumexp²."""
    scored = targets != IGNORE
    logits, targets = logits[scored], targets[scored]  # (n, V), (n)
    lse = logits.logsumexp(dim=-1)  # (n)
    log_p = logits - lse[:, None]
    hit = log_p.gather(1, targets[:, None]).squeeze(1)
    return (-(1 - smoothing) * hit - smoothing * log_p.mean(dim=-1) + z * lse.square()).mean()

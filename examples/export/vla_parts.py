# SPDX-License-Identifier: Apache-2.0
"""Layers that vision-language-action policies are made of, small.

Vision transformers, and decoder layers of the Llama and Gemma kind: rotary positions, RMS norms,
gated feed-forward layers, shared key and value heads. A layer gives its queries, keys and values
away, so that two experts can attend to each other and caches can be filled and used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

KeysValues = tuple[Tensor, Tensor]
Kind = Literal["llama", "gemma"]

_BIG_NEGATIVE = -1e9
_WAVELENGTH = 10_000.0


def rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Turn (B, H, L, D) by the places of its tokens, (B, L); Su et al., RoFormer.

    Halves are turned against each other as in openpi `gemma.py` `_apply_rope` and in Llama.
    """
    half = x.shape[-1] // 2
    exponents = torch.arange(half, dtype=torch.float32) * (1.0 / half)
    angles = positions[:, None, :, None].to(torch.float32) / _WAVELENGTH**exponents
    first, second = x[..., :half], x[..., half:]
    sine, cosine = torch.sin(angles), torch.cos(angles)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat(turned, dim=-1)


def attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of (B, H, L, D) to (B, K, S, D) where `mask` (B, L, S) allows: (B, L, H D)."""
    repeat = queries.shape[1] // keys.shape[1]
    keys, values = (x.repeat_interleave(repeat, dim=1) for x in (keys, values))
    scores = queries @ keys.transpose(2, 3) * queries.shape[-1] ** -0.5
    weights = torch.softmax(torch.where(mask[:, None], scores, _BIG_NEGATIVE), dim=-1)
    return (weights @ values).transpose(1, 2).flatten(2)


def block_mask(seen: Tensor, blocks: Tensor) -> Tensor:
    """Which of N tokens attend to which, (B, N, N).

    Tokens attend to their block and those before it; openpi `pi0.py` `make_attn_mask`.

    Args:
        seen: Which tokens are no padding, (B, N) bool.
        blocks: 1 where a block begins, (N,).
    """
    number = torch.cumsum(blocks, dim=0)
    return (number[None, None, :] <= number[None, :, None]) & seen[:, None, :] & seen[:, :, None]


class RmsNorm(nn.Module):
    """Root mean square norm; Gemma's weight is a difference to one."""

    def __init__(self, width: int, kind: Kind) -> None:
        super().__init__()
        self.one = 1.0 if kind == "gemma" else 0.0
        spread = torch.randn(width) * 0.1
        self.weight = nn.Parameter(spread if kind == "gemma" else 1.0 + spread)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return _unit(x) * (self.one + self.weight)


class AdaptiveNorm(nn.Module):
    """Root mean square norm whose scale, shift and gate follow a condition (pi0.5).

    openpi `gemma.py`, `RMSNorm.__call__`: the modulation begins at zero in training.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised (B, L, W) and the gate of what follows."""
        scale, shift, gate = self.modulation(condition).chunk(3, dim=-1)
        return _unit(x) * (1.0 + scale) + shift, gate


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-6)


@dataclass(frozen=True)
class Size:
    """Of a decoder layer.

    Attributes:
        width: Of the tokens.
        heads: Of the queries.
        shared: Of keys and values.
        head: Width of a head.
        hidden: Of the feed-forward layer.
        kind: `llama` (SiLU) or `gemma` (GELU).
        adaptive: Whether norms follow a condition.
        source: Width of what keys and values are made of, where it is not `width`.
    """

    width: int
    heads: int
    shared: int
    head: int
    hidden: int
    kind: Kind = "llama"
    adaptive: bool = False
    source: int | None = None


class Layer(nn.Module):
    """A decoder layer, in the two halves around the attention."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        source = size.source or size.width
        self.queries = nn.Linear(size.width, size.heads * size.head, bias=False)
        self.keys = nn.Linear(source, size.shared * size.head, bias=False)
        self.values = nn.Linear(source, size.shared * size.head, bias=False)
        self.output = nn.Linear(size.heads * size.head, size.width, bias=False)
        self.gate = nn.Linear(size.width, size.hidden, bias=False)
        self.up = nn.Linear(size.width, size.hidden, bias=False)
        self.down = nn.Linear(size.hidden, size.width, bias=False)
        norms = AdaptiveNorm(size.width) if size.adaptive else RmsNorm(size.width, size.kind)
        self.before = norms
        self.between = (
            AdaptiveNorm(size.width) if size.adaptive else RmsNorm(size.width, size.kind)
        )

    def normed(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What attention sees, and the gate of what it gives."""
        return _normed(self.before, x, condition)

    def asked(self, normed: Tensor, positions: Tensor) -> Tensor:
        """Queries (B, H, L, D)."""
        return rotated(self.split(self.queries(normed)), positions)

    def told(self, normed: Tensor, positions: Tensor) -> KeysValues:
        """Keys and values, both (B, K, L, D)."""
        return rotated(self.split(self.keys(normed)), positions), self.split(self.values(normed))

    def finished(
        self, x: Tensor, heads: Tensor, gate: Tensor | None, condition: Tensor | None = None
    ) -> Tensor:
        """The residual, and the feed-forward half."""
        x = _added(x, self.output(heads), gate)
        normed, gate = _normed(self.between, x, condition)
        gelu = functional.gelu(self.gate(normed), approximate="tanh")
        opened = gelu if self.size.kind == "gemma" else functional.silu(self.gate(normed))
        return _added(x, self.down(opened * self.up(normed)), gate)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """The whole layer for one expert, and all keys and values."""
        normed, gate = self.normed(x)
        keys, values = self.told(normed, positions)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        heads = attended(self.asked(normed, positions), keys, values, mask)
        return self.finished(x, heads, gate), (keys, values)

    def split(self, x: Tensor) -> Tensor:
        """(B, L, H D) to (B, H, L, D)."""
        return x.unflatten(-1, (-1, self.size.head)).transpose(1, 2)


def _normed(norm: nn.Module, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return (norm(x), None) if condition is None else norm(x, condition)


def _added(x: Tensor, more: Tensor, gate: Tensor | None) -> Tensor:
    return x + more if gate is None else x + more * gate


class VisionTransformer(nn.Module):
    """Patches of an image as tokens.

    Args:
        size: Height and width of the image.
        patch: Side of a patch.
        width: Of the tokens.
        depth: Layers.
        last: Layer whose output is taken, without a norm; None for the last, with one.
    """

    def __init__(
        self,
        size: Sequence[int],
        patch: int,
        width: int,
        depth: int = 2,
        last: int | None = None,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        count = (size[0] // patch) * (size[1] // patch)
        self.places = nn.Parameter(torch.randn(1, count, width) * 0.2)
        kept = depth if last is None else last + 1
        self.layers = nn.ModuleList(_VisionLayer(width) for _ in range(kept))
        self.norm = nn.LayerNorm(width) if last is None else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, tokens, width)."""
        x = self.patches(image).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class _VisionLayer(nn.Module):
    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inputs(self.before(x)).chunk(3, dim=-1)
        asked, keys, values = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        everything = torch.ones(1, x.shape[1], x.shape[1], dtype=torch.bool)
        x = x + self.output(attended(asked, keys, values, everything))
        return x + self.down(functional.gelu(self.up(self.between(x)), approximate="tanh"))


def enlivened(module: nn.Module) -> None:
    """Make a network that was never trained depend on all that it sees, as a trained one does.

    With the usual beginning every token attends to all others alike, and images hardly count.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, Layer):
                part.queries.weight *= 4.0
                part.keys.weight *= 2.0
                part.output.weight *= 3.0
                part.down.weight *= 4.0
            elif isinstance(part, VisionTransformer):
                part.patches.weight *= 6.0
                part.places *= 3.0
            elif isinstance(part, _VisionLayer):
                part.inputs.weight *= 2.0


def time_waves(time: Tensor, width: int) -> Tensor:
    """Sines and cosines of flow times (B, T): (B, T, width), in single precision.

    LeRobot `vla_utils.py` `create_sinusoidal_pos_embedding`, with periods from 0.004 to 4 and in
    double precision: at the shortest period single precision would be off by 1e-4.
    """
    fraction = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64)
    period = 4e-3 * (4.0 / 4e-3) ** fraction
    angles = time[..., None].to(torch.float64) * (2.0 * math.pi / period)
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1).to(torch.float32)

# SPDX-License-Identifier: Apache-2.0
"""Transformer layers and positions of the families here, written out to export plainly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention of queries (B, Q, D) over keys and values (B, K, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """Attend; `allowed` (B or 1, 1, Q or 1, K) is True where a query may look."""
        q, k = self._split(self.query(queries)), self._split(self.key(keys))
        v = self._split(self.value(values))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -1e9)
        seen = scores.softmax(dim=-1) @ v
        return self.out(seen.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        return tokens.view(batch, count, self.heads, width // self.heads).transpose(1, 2)


class PreNormLayer(nn.Module):
    """Self-attention and MLP, each after a layer norm (ViT, Octo)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Map tokens (B, K, D) to tokens."""
        normed = self.before(tokens)
        tokens = tokens + self.attention(normed, normed, normed, allowed)
        return tokens + self.down(functional.gelu(self.up(self.between(tokens))))


def sinusoid_table(count: int, width: int) -> Tensor:
    """Positions of Vaswani et al. (2017) as ACT's `get_sinusoid_encoding_table` has them."""
    places = torch.arange(count)[:, None].float()
    columns = torch.arange(width)[None, :]
    angles = places / 10000.0 ** (2 * (columns // 2) / width)
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos())[None]


def sine_positions_2d(height: int, width: int, channels: int) -> Tensor:
    """DETR's `PositionEmbeddingSine`, normalised, as (1, height * width, channels)."""
    half = channels // 2
    period = 10000.0 ** (2 * (torch.arange(half) // 2) / half)
    parts: list[Tensor] = []
    for count, shape in ((height, (height, 1)), (width, (1, width))):
        places = torch.arange(1, count + 1).float() / (count + 1e-6) * 2.0 * math.pi
        angles = places.view(*shape, 1) / period
        waves = torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1)
        parts.append(waves.flatten(-2).expand(height, width, half))
    return torch.cat(parts, dim=-1).reshape(1, height * width, channels)

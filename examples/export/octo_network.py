# SPDX-License-Identifier: Apache-2.0
"""Octo's networks, smaller: a block-wise causal transformer, and a head that denoises actions."""

from __future__ import annotations

import math

import torch
from attention import PreNormLayer
from torch import Tensor, nn
from torch.nn import functional

HISTORY, ROWS, COLUMNS, TEXT = 2, 4, 7, 16
SIZES = {"primary": 64, "wrist": 32}
"""Of the images [px]."""
WIDTH = 24
_HEADS, _WORDS, _READOUT, _HEAD = 4, 16, 1, 40


class ImageTokens(nn.Module):
    """`ImageTokenizer` with a `SmallStem`: convolutions of stride 2, then patches."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(2, 8), nn.GroupNorm(3, 12)])
        self.patches = nn.Conv2d(12, WIDTH, 4, 4)
        self.count = (size // 16) ** 2
        self.places = nn.Parameter(0.02 * torch.randn(1, HISTORY, self.count, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        """Map (1, 2, H, W, 3) uint8 to tokens (1, 2, n, D)."""
        maps = images[0].permute(0, 3, 1, 2).float() / 127.5 - 1.0
        maps = self.norms[0](self.first(maps)).relu()
        maps = self.norms[1](self.second(maps)).relu()
        return self.patches(maps).flatten(2).transpose(1, 2)[None] + self.places


class Transformer(nn.Module):
    """`OctoTransformer` with a T5-like encoder of the task before it."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, _WORDS)
        self.language, self.project = PreNormLayer(_WORDS, 2, 32), nn.Linear(_WORDS, WIDTH)
        self.task_places = nn.Parameter(0.02 * torch.randn(1, TEXT, WIDTH))
        self.primary, self.wrist = (ImageTokens(size) for size in SIZES.values())
        self.readout = nn.Parameter(0.02 * torch.randn(1, HISTORY, _READOUT, WIDTH))
        self.layers = nn.ModuleList(PreNormLayer(WIDTH, _HEADS, 2 * WIDTH) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("rule", _block_causal(self.primary.count + self.wrist.count))

    def forward(
        self,
        image_primary: Tensor,
        image_wrist: Tensor,
        image_wrist_mask: Tensor,
        timestep_pad_mask: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
    ) -> Tensor:
        """Map what is observed to the readouts' mean, (1, 2, D)."""
        words = attention_mask > 0
        text = self.project(self.language(self.words(input_ids), words[:, None, None, :]))
        moments = torch.cat(
            [self.primary(image_primary), self.wrist(image_wrist), self.readout], dim=2
        )
        tokens = torch.cat([text + self.task_places, moments.flatten(1, 2)], dim=1)
        real = (timestep_pad_mask > 0)[:, :, None]
        seen = torch.cat(
            [
                real.expand(1, HISTORY, self.primary.count),
                (real & (image_wrist_mask > 0)[:, :, None]).expand(1, HISTORY, self.wrist.count),
                real.expand(1, HISTORY, _READOUT),
            ],
            dim=2,
        )
        kept = torch.cat([words, seen.flatten(1, 2)], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, self.rule & kept[:, None, None, :])
        moments = self.norm(tokens)[:, TEXT:].view(1, HISTORY, -1, WIDTH)
        return moments[:, :, -_READOUT:].mean(2)


def _block_causal(images: int) -> Tensor:
    """Who may look at whom, (1, 1, K, K), as `BlockTransformer` has it.

    The task at itself; a moment at the task and at moments up to its own; nobody at readouts but
    they themselves.
    """
    moment = torch.cat([torch.full((images,), 0), torch.full((_READOUT,), 1)]).repeat(HISTORY)
    readout = torch.cat([torch.zeros(TEXT), moment]) > 0
    when = torch.cat(
        [torch.full((TEXT,), -1), torch.arange(HISTORY).repeat_interleave(images + _READOUT)]
    )
    allowed = when[:, None] >= when[None, :]
    own = readout[:, None] & (when[:, None] == when[None, :])
    return (allowed & (~readout[None, :] | own))[None, None]


class DiffusionHead(nn.Module):
    """`ScoreActor`: Fourier features of the time, and an MLP-ResNet on sample and readout."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rates", 0.2 * torch.randn(1, 8))
        self.time = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16))
        self.given = nn.Linear(16 + WIDTH + ROWS * COLUMNS, _HEAD)
        self.norms = nn.ModuleList(nn.LayerNorm(_HEAD) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(_HEAD, 2 * _HEAD) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(2 * _HEAD, _HEAD) for _ in range(2))
        self.out = nn.Linear(_HEAD, ROWS * COLUMNS)

    def forward(self, noisy_actions: Tensor, time: Tensor, readout: Tensor) -> Tensor:
        """Map (1, 2, 28), (1, 2, 1) and (1, 2, D) to noise (1, 2, 28)."""
        angles = 2.0 * math.pi * time.float() @ self.rates
        timed = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1))
        hidden = self.given(torch.cat([timed, readout, noisy_actions], dim=-1))
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            hidden = hidden + down(functional.silu(up(norm(hidden))))
        return self.out(functional.silu(hidden))

# SPDX-License-Identifier: Apache-2.0
"""The conditional 1-D U-Net that Diffusion Policy and NoMaD denoise with, smaller.

Source: real-stanford/diffusion_policy at 5ba07ac, `model/diffusion/conditional_unet1d.py`. Module
by module the same: Conv1d-GroupNorm-Mish blocks, FiLM from the timestep and the observation,
strided downsampling, transposed upsampling, skip connections.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_KERNEL, _GROUPS = 3, 4


class SinusoidalTime(nn.Module):
    """`SinusoidalPosEmb`: timesteps (B,) to (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        rates = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
        self.register_buffer("rates", rates)

    def forward(self, timestep: Tensor) -> Tensor:
        """Sines, then cosines."""
        angles = timestep[:, None].float() * self.rates[None, :]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class ConvBlock(nn.Sequential):
    """`Conv1dBlock`."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__(
            nn.Conv1d(given, made, _KERNEL, padding=_KERNEL // 2),
            nn.GroupNorm(_GROUPS, made),
            nn.Mish(),
        )


class ResidualBlock(nn.Module):
    """`ConditionalResidualBlock1D`; `scaled` is its `cond_predict_scale`."""

    def __init__(self, given: int, made: int, condition: int, *, scaled: bool) -> None:
        super().__init__()
        self.scaled, self.made = scaled, made
        self.first, self.second = ConvBlock(given, made), ConvBlock(made, made)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition, made * (2 if scaled else 1)))
        self.shortcut = nn.Conv1d(given, made, 1) if given != made else nn.Identity()

    def forward(self, rows: Tensor, condition: Tensor) -> Tensor:
        """Map (B, given, T) to (B, made, T)."""
        hidden, film = self.first(rows), self.film(condition)[..., None]
        if self.scaled:
            hidden = film[:, : self.made] * hidden + film[:, self.made :]
        else:
            hidden = hidden + film
        return self.second(hidden) + self.shortcut(rows)


class ConditionalUnet1d(nn.Module):
    """What of a noisy action sequence is noise.

    Args:
        columns: Of the action.
        condition: Width of `global_cond`.
        time: Width of the timestep's embedding.
        widths: Channels of every level.
        scaled: Whether FiLM scales, too (Diffusion Policy), or only shifts (NoMaD).
    """

    def __init__(
        self, columns: int, condition: int, time: int, widths: tuple[int, int], *, scaled: bool
    ) -> None:
        super().__init__()
        small, large = widths
        self.time = nn.Sequential(
            SinusoidalTime(time), nn.Linear(time, time * 4), nn.Mish(), nn.Linear(time * 4, time)
        )

        def block(given: int, made: int) -> ResidualBlock:
            return ResidualBlock(given, made, time + condition, scaled=scaled)

        self.down = nn.ModuleList([block(columns, small), block(small, small)])
        self.shrink = nn.Conv1d(small, small, 3, 2, 1)
        self.low = nn.ModuleList([block(small, large), block(large, large)])
        self.middle = nn.ModuleList([block(large, large), block(large, large)])
        self.up = nn.ModuleList([block(large * 2, small), block(small, small)])
        self.grow = nn.ConvTranspose1d(small, small, 4, 2, 1)
        self.final = nn.Sequential(ConvBlock(small, small), nn.Conv1d(small, columns, 1))

    def forward(self, sample: Tensor, timestep: Tensor, global_cond: Tensor) -> Tensor:
        """Map a sample (B, T, A), timesteps (B,) and a condition (B, C) to noise (B, T, A).

        As in the original the first level's skip connection is not used.
        """
        condition = torch.cat([self.time(timestep), global_cond], dim=-1)
        rows = sample.transpose(1, 2)
        for layer in self.down:
            rows = layer(rows, condition)
        rows = self.shrink(rows)
        for layer in self.low:
            rows = layer(rows, condition)
        skip = rows
        for layer in self.middle:
            rows = layer(rows, condition)
        rows = torch.cat([rows, skip], dim=1)
        for layer in self.up:
            rows = layer(rows, condition)
        return self.final(self.grow(rows)).transpose(1, 2)

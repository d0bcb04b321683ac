# SPDX-License-Identifier: Apache-2.0
"""A flow-matching policy of a third of a million parameters: two graphs, `encode` and `step`.

Conventions of LeRobot and openpi: x_t = t * noise + (1 - t) * action, velocity = noise - action;
time runs from 1, noise, to 0, the action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from network import Encoder
from onnx.numpy_helper import to_array
from pipeline import ROWS
from torch import Tensor, nn

from levine_policy_node.core.units import FloatArray

JOINTS = 6
COND = 192
STEPS = 10
_CAMERAS, _CAMERA_FEATURES = 2, 96
_WIDTH, _TOKEN_WIDTH, _BLOCKS = 96, 32, 3
_WAVES = 32


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the bundle normalises with, measured on the training data.

    Attributes:
        state_mean: Of the joints, shape (6,) [rad].
        state_std: Likewise.
        action_mean: Of each row's targets relative to the joints, shape (16, 6) [rad].
        action_std: Likewise.
    """

    state_mean: FloatArray
    state_std: FloatArray
    action_mean: FloatArray
    action_std: FloatArray

    @staticmethod
    def of(joints: FloatArray, rows: FloatArray) -> Statistics:
        """Measure joints (N, 6) and labels (N, 16, 6)."""
        relative = rows - joints[:, None, :]
        # Without a floor the nearest rows, which hardly move, would ask for microradians.
        return Statistics(
            joints.mean(axis=0),
            joints.std(axis=0) + 0.01,
            relative.mean(axis=0),
            relative.std(axis=0) + 0.02,
        )


class Encode(nn.Module):
    """What is the same at every step of the flow: the observation as one vector."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(Encoder() for _ in range(_CAMERAS))
        self.mix = nn.Sequential(
            nn.Linear(JOINTS + _CAMERAS * _CAMERA_FEATURES, 2 * COND),
            nn.ReLU(),
            nn.Linear(2 * COND, COND),
            nn.ReLU(),
            nn.Linear(COND, COND),
        )

    def look(self, front: Tensor, wrist: Tensor) -> Tensor:
        """Map two (B, 3, 96, 96) in [0, 1] to features (B, 192)."""
        views = zip(self.encoders, (front, wrist), strict=True)
        return torch.cat([encoder(images) for encoder, images in views], dim=1)

    def forward(self, state: Tensor, front: Tensor, wrist: Tensor) -> Tensor:
        """Map normalised joints (B, 6) and two (B, 3, 96, 96) in [0, 1] to (B, COND)."""
        return self.mix(torch.cat([state, self.look(front, wrist)], dim=1))


class _Block(nn.Module):
    """Mixes the rows of a chunk, then the channels of each row.

    Tolstikhin et al., MLP-Mixer (2021); scaled and shifted by what each row knows of its time, as
    in Peebles and Xie, DiT (2022), with one map for all blocks as in Chen et al., PixArt (2023).
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm_rows = nn.LayerNorm(_WIDTH, elementwise_affine=False)
        self.norm_channels = nn.LayerNorm(_WIDTH, elementwise_affine=False)
        self.modulation = nn.Parameter(torch.zeros(4 * _WIDTH))
        self.rows = nn.Sequential(
            nn.Linear(ROWS, _TOKEN_WIDTH), nn.SiLU(), nn.Linear(_TOKEN_WIDTH, ROWS)
        )
        self.channels = nn.Sequential(
            nn.Linear(_WIDTH, 2 * _WIDTH), nn.SiLU(), nn.Linear(2 * _WIDTH, _WIDTH)
        )

    def forward(self, tokens: Tensor, known: Tensor) -> Tensor:
        """Map tokens (B, 16, W), modulated by (B, 16, 4 W), to tokens."""
        gain, shift, gain_channels, shift_channels = (known + self.modulation).chunk(4, dim=-1)
        mixed = self.norm_rows(tokens) * (1.0 + gain) + shift
        tokens = tokens + self.rows(mixed.transpose(1, 2)).transpose(1, 2)
        return tokens + self.channels(
            self.norm_channels(tokens) * (1.0 + gain_channels) + shift_channels
        )


class Step(nn.Module):
    """The velocity of the flow, with a time of its own for every row."""

    waves: Tensor

    def __init__(self) -> None:
        super().__init__()
        periods = torch.logspace(math.log10(4e-3), math.log10(4.0), _WAVES)
        self.register_buffer("waves", 2.0 * math.pi / periods)
        self.read = nn.Linear(JOINTS, _WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(1, ROWS, _WIDTH))
        self.time = nn.Sequential(
            nn.Linear(2 * _WAVES, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH)
        )
        self.condition = nn.Linear(COND, 2 * _WIDTH)
        self.modulate = nn.Linear(_WIDTH, 4 * _WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(_BLOCKS))
        self.norm = nn.LayerNorm(_WIDTH)
        self.write = nn.Linear(_WIDTH, JOINTS)

    def forward(self, noisy: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        """Map rows (B, 16, 6) at times (B, 16) and (B, COND) to velocities (B, 16, 6)."""
        angles = time[..., None] * self.waves
        knows, begins = self.condition(cond)[:, None, :].chunk(2, dim=-1)
        known = self.time(torch.cat([angles.sin(), angles.cos()], dim=-1)) + knows
        known = self.modulate(nn.functional.silu(known + self.place))
        tokens = self.read(noisy) + self.place + begins
        for block in self.blocks:
            tokens = block(tokens, known)
        return self.write(self.norm(tokens))


class FlowPolicy(nn.Module):
    """Both graphs with the statistics they were trained with."""

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.statistics = statistics
        self.encode = Encode()
        self.step = Step()

    def take_eyes(self, graph: Path) -> None:
        """Take the image encoders of the policy that `examples/train_so101` made, and keep them.

        Raises:
            RuntimeError: If `graph` is another policy's.
        """
        weights = {
            tensor.name.removeprefix("encoders."): torch.from_numpy(to_array(tensor).copy())
            for tensor in onnx.load(graph).graph.initializer
            if tensor.name.startswith("encoders.")
        }
        # The graph holds one grid for both.
        weights["1.grid"] = weights["0.grid"]
        self.encode.encoders.load_state_dict(weights)
        self.encode.encoders.requires_grad_(requires_grad=False)


class Unrolled(nn.Module):
    """The whole flow as one graph, the loop and the prefix inside."""

    def __init__(self, policy: FlowPolicy) -> None:
        super().__init__()
        self.encode, self.step = policy.encode, policy.step

    def forward(
        self,
        state: Tensor,
        front: Tensor,
        wrist: Tensor,
        noise: Tensor,
        prefix: Tensor,
        delay: Tensor,
    ) -> Tensor:
        """Integrate from noise (B, 16, 6) with the first `delay` (1,) rows of `prefix` fixed.

        Args:
            state: Input of `Encode`, as are `front` and `wrist`.
            front: Shape (B, 3, 96, 96).
            wrist: Shape (B, 3, 96, 96).
            noise: Shape (B, 16, 6).
            prefix: Shape (B, 16, 6), in the same units; rows from `delay` on are not used.
            delay: Number of fixed rows, int64, shape (1,).
        """
        cond = self.encode(state, front, wrist)
        fixed = (torch.arange(ROWS)[None, :] < delay[:, None])[..., None]
        moves = 1.0 - fixed.to(noise.dtype)[..., 0]
        rows = torch.where(fixed, prefix, noise)
        for index in range(STEPS):
            time = moves * (1.0 - index / STEPS)
            rows = rows - self.step(rows, time, cond) / STEPS
            rows = torch.where(fixed, prefix, rows)
        return rows


def as_tensor(values: FloatArray) -> Tensor:
    """The values in the network's precision."""
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)

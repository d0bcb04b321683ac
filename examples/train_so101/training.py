# SPDX-License-Identifier: Apache-2.0
"""Fit the network to the labels: L1, AdamW, one cycle of learning rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from collect import Samples
from descent import Descent
from network import ChunkPolicy, Scaling
from torch import Tensor

_BATCH = 64
_JOINT_NOISE = 0.01
_REPORT_EVERY = 100


@dataclass(frozen=True, slots=True)
class Schedule:
    """Number of steps and the highest learning rate."""

    steps: int
    learning_rate: float = 1e-3


def new_policy(samples: Samples) -> ChunkPolicy:
    """An untrained policy, scaled to `samples`."""
    torch.manual_seed(0)
    return ChunkPolicy(Scaling.of(samples.joints.astype(np.float64), samples.rows))


def train(policy: ChunkPolicy, samples: Samples, schedule: Schedule) -> None:
    """Train in place, printing progress."""
    scaling = Scaling.of(samples.joints.astype(np.float64), samples.rows)
    row_std = torch.as_tensor(scaling.row_std, dtype=torch.float32)
    policy.train()
    policy.to(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)

    def loss() -> Tensor:
        joints, images, rows = _batch(samples, rng)
        wanted = rows - joints[:, None, :]
        return ((policy(joints, *images) - wanted) / row_std).abs().mean()

    descent = Descent(schedule.steps, schedule.learning_rate, _REPORT_EVERY)
    descent.run(policy.parameters(), loss)


def _batch(samples: Samples, rng: np.random.Generator) -> tuple[Tensor, list[Tensor], Tensor]:
    """Draw a batch; joints get noise, images a change of brightness and colour."""
    index = rng.integers(0, len(samples.joints), _BATCH)
    joints = torch.from_numpy(samples.joints[index])
    joints = joints + _JOINT_NOISE * torch.randn_like(joints)
    cameras = [jittered(torch.from_numpy(view[index])) for view in samples.views]
    return joints, cameras, torch.from_numpy(samples.rows[index])


def jittered(frames: Tensor) -> Tensor:
    """Scale frames (B, 96, 96, 3) as `pipeline.preprocess` does, and jitter them."""
    gain = 1.0 + 0.2 * (torch.rand(len(frames), 1, 1, 1) - 0.5)
    shift = 0.1 * (torch.rand(len(frames), 3, 1, 1) - 0.5)
    # Permuted, the frames already lie in memory as the convolutions like them.
    images = frames.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
    return images.mul_(gain / 255.0).add_(shift + 0.5 * (1.0 - gain))

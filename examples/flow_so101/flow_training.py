# SPDX-License-Identifier: Apache-2.0
"""Fit the flow to the labels, half of the time with the first rows given (training-time RTC).

Lipman et al., Flow Matching (2023); Black et al., Training-Time Action Conditioning for Efficient
Real-Time Chunking (2025), as LeRobot's `rtc_training` and openpi do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from collect import Samples
from descent import Descent
from flow_network import FlowPolicy, Statistics, as_tensor
from pipeline import ROWS
from stages import MAX_DELAY
from torch import Tensor
from training import jittered

_BATCH = 192
_LOOKS = 4
_STATE_NOISE = 0.01
_REPORT_EVERY = 200
_AVERAGE = 0.998


@dataclass(frozen=True, slots=True)
class Schedule:
    """Number of steps and the highest learning rate."""

    steps: int
    learning_rate: float = 2e-3


@dataclass(frozen=True, slots=True)
class Seen:
    """Samples with what the image encoders make of the frames.

    Attributes:
        features: Several per sample, of frames with jittered colours, (N, 4, 192).
        joints: Shape (N, 6) [rad].
        rows: Shape (N, 16, 6) [rad].
        committed: Rows that are no labels, (N,).
    """

    features: Tensor
    joints: Tensor
    rows: Tensor
    committed: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """B observations with their labels, normalised.

    Attributes:
        observed: Joints and features, (B, 198).
        actions: Shape (B, 16, 6).
        committed: Rows that are no labels, (B,).
    """

    observed: Tensor
    actions: Tensor
    committed: Tensor


def new_policy(samples: Samples, eyes: Path) -> FlowPolicy:
    """An untrained policy, scaled to `samples`, that sees as the policy in `eyes` does."""
    torch.manual_seed(0)
    policy = FlowPolicy(Statistics.of(samples.joints.astype(np.float64), samples.rows))
    policy.take_eyes(eyes)
    return policy


@torch.no_grad()
def look(policy: FlowPolicy, samples: Samples) -> Seen:
    """Encode every frame once per look: the encoders stay as they are, and cost the most."""
    features: list[Tensor] = []
    for begin in range(0, len(samples.joints), _BATCH):
        views = [torch.from_numpy(view[begin : begin + _BATCH]) for view in samples.views]
        looks = [policy.encode.look(*map(jittered, views)) for _ in range(_LOOKS)]
        features.append(torch.stack(looks, dim=1))
    return Seen(
        torch.cat(features),
        torch.from_numpy(samples.joints),
        torch.from_numpy(samples.rows),
        torch.from_numpy(samples.committed),
    )


def train(policy: FlowPolicy, seen: Seen, schedule: Schedule) -> None:
    """Train in place, printing progress; what stays is the running average of the weights."""
    trained = [p for p in policy.parameters() if p.requires_grad]
    averaged = torch.optim.swa_utils.AveragedModel(
        policy, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_AVERAGE)
    )
    descent = Descent(schedule.steps, schedule.learning_rate, _REPORT_EVERY)
    descent.run(
        trained,
        lambda: flow_loss(policy, draw(seen, policy.statistics)),
        lambda: averaged.update_parameters(policy),
    )
    policy.load_state_dict(averaged.module.state_dict())


def flow_loss(policy: FlowPolicy, batch: Batch) -> Tensor:
    """Mean squared error of the velocity over the rows that are not given."""
    cond = policy.encode.mix(batch.observed)
    actions = batch.actions
    noise = torch.randn_like(actions)
    # As openpi draws it: more often near the noise.
    times = torch.distributions.Beta(1.5, 1.0).sample((len(actions), 1)) * 0.999 + 0.001
    given = torch.arange(ROWS)[None, :] < _delays(batch.committed)[:, None]
    times = torch.where(given, 0.0, times)
    noisy = times[..., None] * noise + (1.0 - times[..., None]) * actions
    error = policy.step(noisy, times, cond) - (noise - actions)
    counts = (~given)[..., None].to(error.dtype)
    return (error.square() * counts).sum() / (counts.sum() * error.shape[-1])


def _delays(committed: Tensor) -> Tensor:
    """How many rows are given, (B,): those that are no labels, else none or 1 to 6 at random."""
    drawn = torch.randint(1, MAX_DELAY + 1, committed.shape) * (torch.rand(committed.shape) < 0.5)
    return torch.where(committed > 0, committed, drawn)


def draw(seen: Seen, statistics: Statistics) -> Batch:
    """Draw a batch; joints get noise."""
    index = torch.randint(len(seen.joints), (_BATCH,))
    joints = seen.joints[index]
    joints = joints + _STATE_NOISE * torch.randn_like(joints)
    state = (joints - as_tensor(statistics.state_mean)) / as_tensor(statistics.state_std)
    features = seen.features[index, torch.randint(_LOOKS, (_BATCH,))]
    relative = seen.rows[index] - joints[:, None, :]
    return Batch(
        torch.cat([state, features], dim=1),
        (relative - as_tensor(statistics.action_mean)) / as_tensor(statistics.action_std),
        seen.committed[index],
    )

# SPDX-License-Identifier: Apache-2.0
"""Train the policy of examples/train_so101 on demonstrations mixed with corrections."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from corrections import Labelled
from mixing import Draws, Mix, draw_weights
from network import ChunkPolicy, Scaling
from torch import Tensor, nn
from training import jittered

_BATCH = 64
_JOINT_NOISE = 0.01
_REPORT_EVERY = 200


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how to train.

    Attributes:
        steps: Of the optimiser.
        mix: How corrections and demonstrations are mixed.
        learning_rate: The highest of the cycle.
    """

    steps: int
    mix: Mix = Mix.IWR
    learning_rate: float = 1e-3


def scaling_of(samples: Labelled) -> Scaling:
    """What inputs, outputs and the loss are scaled with; of the demonstrations, for good."""
    return Scaling.of(samples.joints.astype(np.float64), samples.rows.astype(np.float64))


def untrained(scaling: Scaling) -> ChunkPolicy:
    """A policy with random weights, the same each time."""
    torch.manual_seed(0)
    return ChunkPolicy(scaling)


def copied(policy: ChunkPolicy, scaling: Scaling) -> ChunkPolicy:
    """A policy with the same weights, to be trained on from there."""
    copy = ChunkPolicy(scaling)
    copy.load_state_dict(policy.state_dict())
    return copy


def train(policy: ChunkPolicy, samples: Labelled, scaling: Scaling, course: Course) -> None:
    """Train in place with an L1 loss over the rows that are labels, printing progress."""
    torch.manual_seed(1)
    row_std = torch.as_tensor(scaling.row_std, dtype=torch.float32)
    policy.train()
    policy.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(policy.parameters(), course.learning_rate, weight_decay=1e-4)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, course.learning_rate, total_steps=course.steps, pct_start=0.1
    )
    draws = Draws(draw_weights(samples.human, course.mix), seed=0)
    began, total = time.monotonic(), 0.0
    for step in range(1, course.steps + 1):
        loss = batch_loss(policy, samples, draws.batch(_BATCH), row_std)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        cycle.step()
        total += loss.item()
        if step % _REPORT_EVERY == 0:
            seconds = time.monotonic() - began
            mean = total / _REPORT_EVERY
            print(f"  step {step}/{course.steps}  loss {mean:.4f}  {seconds:.0f} s", flush=True)
            total = 0.0


def batch_loss(
    policy: ChunkPolicy, samples: Labelled, index: np.ndarray, row_std: Tensor
) -> Tensor:
    """Mean absolute error over the labels of a batch, in standard deviations of each row."""
    joints = torch.from_numpy(samples.joints[index])
    joints = joints + _JOINT_NOISE * torch.randn_like(joints)
    cameras = range(samples.frames.shape[1])
    images = [jittered(torch.from_numpy(samples.frames[index, camera])) for camera in cameras]
    wanted = torch.from_numpy(samples.rows[index]) - joints[:, None, :]
    valid = torch.from_numpy(samples.valid[index])[..., None]
    error = ((policy(joints, *images) - wanted) / row_std).abs() * valid
    return error.sum() / (valid.sum() * error.shape[-1])

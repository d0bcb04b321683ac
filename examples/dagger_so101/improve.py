# SPDX-License-Identifier: Apache-2.0
"""Train the policy of examples/train_so101 on demonstrations mixed with corrections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from corrections import Labelled
from descent import Descent
from mixing import Draws, Mix, draw_weights
from network import ChunkPolicy, Scaling
from torch import Tensor
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
    draws = Draws(draw_weights(samples.human, course.mix), seed=0)
    descent = Descent(course.steps, course.learning_rate, _REPORT_EVERY)
    descent.run(
        policy.parameters(), lambda: batch_loss(policy, samples, draws.batch(_BATCH), row_std)
    )


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

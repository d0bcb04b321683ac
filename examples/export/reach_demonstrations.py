# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of reaching for policies that see images and the moment before.

Nothing in a frame says where the hand is to go: the place is told in numbers. Frames are therefore
drawn at random, for the policy to learn that it must not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from export_common import (
    Recording,
    record,
    with_goal,
)
from reach_samples import reach_samples

from levine_policy_node.sim.arm import SimArm
from levine_policy_node.sim.scene import CameraRenderer
from levine_policy_node.sim.tasks import ReachTask

RATE, ROWS, IMAGE = 10.0, 16, 96
_PLACES, _STATES, _FRAMES = 600, 16, 48
_SEED = 0

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Demonstrations:
    """N labelled states and F frames.

    Attributes:
        position: Joints (N, 6) [rad].
        before: Joints one period earlier (N, 6) [rad].
        goal: Where the hand is to be (N, 3) [m].
        rows: The next joint targets relative to `position` (N, T, 6) [rad], 0.1 s apart.
        frames: Of the camera `front` (F, 96, 96, 3) RGB.
    """

    position: Array
    before: Array
    goal: Array
    rows: Array
    frames: Pixels


def demonstrations() -> Demonstrations:
    """The same every time."""
    samples = reach_samples(_PLACES, _STATES, rows=ROWS, seed=_SEED)
    rows = samples.rows - samples.position[:, None]
    rng = np.random.default_rng(_SEED)
    # The expert has no memory; how the arm came here is anything from at rest to a little faster.
    share = rng.uniform(0.0, 1.3, (len(rows), 1))
    before = samples.position - share * rows[:, 0] + rng.normal(0.0, 0.005, samples.position.shape)
    chosen = rng.choice(len(rows), _FRAMES, replace=False)
    return Demonstrations(
        samples.position, before, samples.goal, rows, _frames(samples.position[chosen])
    )


def _frames(positions: Array) -> Pixels:
    """What the camera sees of the arm at joint positions (F, 6) [rad]."""
    arm, task = SimArm(), ReachTask()
    renderer = CameraRenderer(height=IMAGE, width=IMAGE)
    made: list[Pixels] = []
    for seed, position in enumerate(positions):
        task.reset(arm, seed)
        arm.reset(seed, position)
        made.append(renderer.render("front", arm.scene_state()).copy())
    renderer.close()
    return np.stack(made)


def observed() -> Recording:
    """What the oracles answer: a slow motion, frames, and a place that moves."""
    return with_goal(record(RATE, cameras={"front": (IMAGE, IMAGE)}))

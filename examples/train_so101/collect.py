# SPDX-License-Identifier: Apache-2.0
"""Episodes of the expert, disturbed, or of a policy; every visited state labelled by the expert.

Demonstrations with disturbances: Laskey et al., DART (2017). Labelling what the policy visits:
Ross et al., DAgger (2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx_run import OnnxChunkPolicy
from oracle import Oracle
from pipeline import ROW_S, ROWS, Robot

from levine_policy_node.core.units import FloatArray

_AFTER_SUCCESS_S = 0.6
_GIVE_UP_S = 11.0


@dataclass(frozen=True, slots=True)
class Samples:
    """N samples: frames (N, C, 96, 96, 3), joints (N, 6) [rad], label rows (N, 16, 6) [rad].

    Of the rows, the first `committed` (N,) are what the robot was about to do, and not labels.
    """

    frames: npt.NDArray[np.uint8]
    joints: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    committed: npt.NDArray[np.int64]
    episodes: int = 1
    successes: int = 0

    @property
    def views(self) -> list[npt.NDArray[np.uint8]]:
        """The frames of each camera, (N, 96, 96, 3)."""
        return [self.frames[:, camera] for camera in range(self.frames.shape[1])]

    @staticmethod
    def join(parts: Sequence[Samples]) -> Samples:
        """Put the samples of several episodes one after the other."""
        return Samples(
            np.concatenate([p.frames for p in parts]),
            np.concatenate([p.joints for p in parts]),
            np.concatenate([p.rows for p in parts]),
            np.concatenate([p.committed for p in parts]),
            sum(p.episodes for p in parts),
            sum(p.successes for p in parts),
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """How episodes are made.

    Attributes:
        disturbance_rad: Standard deviation of the offsets added to the chunks for a while [rad].
        scattered: Start with the hand anywhere above the table.
        policy: ONNX file that drives the arm, or None for the expert.
        max_delay_s: Chunks take effect up to this much after the observation [s].
        max_committed: Half of the labels go on from up to so many rows of the motion under way.
    """

    disturbance_rad: float = 0.0
    scattered: bool = False
    policy: Path | None = None
    max_delay_s: float = 0.08
    max_committed: int = 0


def collect(seeds: Sequence[int], recipe: Recipe, workers: int) -> Samples:
    """Run and label one episode per seed, in `workers` processes."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return Samples.join(list(pool.map(partial(_episode, recipe=recipe), seeds, chunksize=4)))


@dataclass(frozen=True, slots=True)
class _Workplace:
    """What one process needs for its episodes, made once."""

    robot: Robot
    oracle: Oracle
    policy: OnnxChunkPolicy | None


@cache
def _workplace(policy: Path | None) -> _Workplace:
    driver = None if policy is None else OnnxChunkPolicy(policy)
    return _Workplace(Robot(), Oracle(), driver)


def _episode(seed: int, *, recipe: Recipe) -> Samples:
    """One episode, observed, labelled and re-planned every 0.1 or 0.2 s."""
    place = _workplace(recipe.policy)
    robot, oracle, policy = place.robot, place.oracle, place.policy
    rng = np.random.default_rng(seed + 1_000_000)
    robot.reset(seed, scattered=recipe.scattered)
    frames, joints, labels, counts = [], [], [], []
    offset = np.zeros(6)
    ends_s = _GIVE_UP_S
    won = False
    while robot.arm.time_s < ends_s and not robot.task.failed(robot.arm):
        committed = _committed(recipe, rng)
        seen, label, observed_s = robot.observe(), oracle.chunk(robot, committed), robot.arm.time_s
        frames.append(seen.frames)
        joints.append(seen.joints)
        labels.append(label.astype(np.float32))
        counts.append(committed)
        if rng.random() < 0.4:
            offset = rng.normal(0.0, recipe.disturbance_rad, 6) * (rng.random() < 0.35)
        rows = label if policy is None else policy(seen)
        delay_s = round(float(rng.uniform(0.0, recipe.max_delay_s)), 2)
        robot.play(delay_s)
        robot.accept(rows + _ramp(offset), observed_s)
        robot.play(max(ROW_S * int(rng.integers(1, 3)) - delay_s, 0.0))
        if not won and robot.task.succeeded(robot.arm):
            won, ends_s = True, robot.arm.time_s + _AFTER_SUCCESS_S
    return Samples(
        np.stack(frames), np.stack(joints), np.stack(labels), np.array(counts), 1, int(won)
    )


def _committed(recipe: Recipe, rng: np.random.Generator) -> int:
    if not recipe.max_committed or rng.random() < 0.5:
        return 0
    return int(rng.integers(1, recipe.max_committed + 1))


def _ramp(offset: FloatArray) -> FloatArray:
    """An offset that grows over the first 0.4 s, so that it moves the arm without a jolt."""
    return np.clip((np.arange(ROWS) + 1) / 4.0, 0.0, 1.0)[:, None] * offset

# SPDX-License-Identifier: Apache-2.0
"""How often a policy succeeds on seeds it has not seen, driven as the runtime drives it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

from onnx_run import OnnxChunkPolicy
from pipeline import ROW_S, Robot

from levine_policy_node.core.success_rate import wilson_interval


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the policy is run: rows played per chunk and the time from capture to command [s]."""

    execute: int = 2
    delay_s: float = 0.06


@dataclass(frozen=True, slots=True)
class Score:
    """Successes among `episodes`, and the seeds that failed."""

    episodes: int
    failed_seeds: tuple[int, ...]
    mean_time_s: float

    @property
    def successes(self) -> int:
        """Number of episodes won."""
        return self.episodes - len(self.failed_seeds)

    def __str__(self) -> str:
        """Successes with the 95 % Wilson interval."""
        low, high = wilson_interval(self.successes, self.episodes)
        return (
            f"{self.successes}/{self.episodes} [{100 * low:.0f}-{100 * high:.0f} %], "
            f"{self.mean_time_s:.1f} s per episode"
        )


def evaluate(graph: Path, seeds: range, conditions: Conditions, workers: int) -> Score:
    """Run one episode per seed in `workers` processes."""
    run = partial(_episode, graph=graph, conditions=conditions)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        outcomes = list(pool.map(run, seeds, chunksize=5))
    failed = tuple(seed for seed, (won, _) in zip(seeds, outcomes, strict=True) if not won)
    return Score(len(seeds), failed, sum(t for _, t in outcomes) / len(seeds))


@cache
def _workplace(graph: Path) -> tuple[Robot, OnnxChunkPolicy]:
    """What one process needs for its episodes, made once."""
    return Robot(), OnnxChunkPolicy(graph)


def _episode(seed: int, *, graph: Path, conditions: Conditions) -> tuple[bool, float]:
    robot, policy = _workplace(graph)
    robot.reset(seed)
    while robot.arm.time_s < robot.task.horizon_s and not (
        robot.task.succeeded(robot.arm) or robot.task.failed(robot.arm)
    ):
        observed_s = robot.arm.time_s
        rows = policy(robot.observe())
        robot.play(conditions.delay_s)
        robot.accept(rows, observed_s)
        robot.play(conditions.execute * ROW_S - conditions.delay_s)
    return robot.task.succeeded(robot.arm), robot.arm.time_s

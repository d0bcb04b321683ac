# SPDX-License-Identifier: Apache-2.0
"""Does the last gate ever let pass anything unsafe? Random sequences about the limits.

What `bench/unsafe.py` sends through the whole supervisor rarely reaches the last gate with a
fault in it, since the shaper has made it. Here the gate is given what no shaper made: windows and
runs of single positions in which every joint is at one of its limits, short of it or beyond it by
1e-1 to 1e-16 of it, some with a number spoiled. Whatever passes is judged as commands are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from levine_policy_node.bench.unsafe import as_sent
from levine_policy_node.bench.unsafe_campaign import Judged, bounds_of
from levine_policy_node.bench.unsafe_oracle import (
    Verdict,
    judge_commands,
    judge_windows,
)
from levine_policy_node.bench.unsafe_sequences import Windows, random_runs, random_windows
from levine_policy_node.core.gate import TICKS_COMPARED, Tick, tick_trip, window_trip
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.robot import load_robot, robots_directory

BATCH = 200
"""Sequences that are drawn at once, of one robot."""

_START = SteadyNs(1_000_000_000)


@dataclass
class GateCampaign(Judged):
    """What a campaign has judged so far; see `Judged`.

    A sequence is a window or a run of single positions, and judged is what the gate let pass.

    Attributes:
        refused: How many the gate stopped, at the first of its positions or a later one.
    """

    ADDED = (*Judged.ADDED, "refused")

    refused: int = 0

    @property
    def summary(self) -> str:
        """For people."""
        return f"{self.sequences} sequences, {self.refused} of them stopped by the gate"

    def results(self) -> dict[str, Any]:
        """Figures for JSON."""
        return {**super().results(), "refused": self.refused}


def run_gate_campaign(
    sequences: int,
    seed: int,
    first: int = 0,
) -> GateCampaign:
    """Give the gate sequences number `first` to `first + sequences`, rounded up to whole batches.

    Args:
        sequences: How many.
        seed: Of all of them; a batch is a function of it and of the batch's number.
        first: Number of the first; rounded down to a whole batch.
    """
    robots = [load_robot(path.stem) for path in sorted(robots_directory().glob("*.yaml"))]
    campaign = GateCampaign()
    began_s = time.process_time()
    begin = first // BATCH
    for number in range(begin, begin + -(-sequences // BATCH)):
        robot = robots[number % len(robots)]
        rng = np.random.default_rng([seed, number])
        what = f"{robot.name}, batch {number} of seed {seed}"
        verdict = campaign.verdicts.setdefault(robot.name, Verdict())
        draw = _windows if number // len(robots) % 2 == 0 else _positions
        # What is too large for the arithmetic is told by the result, not by a warning.
        with np.errstate(all="ignore"):
            campaign.refused += draw(rng, robot.limits(), verdict, what)
        campaign.sequences += BATCH
    campaign.seconds = time.process_time() - began_s
    return campaign


def _windows(rng: np.random.Generator, limits: JointLimits, verdict: Verdict, what: str) -> int:
    """Judge what the gate lets pass of a batch; how many it refused."""
    drawn = random_windows(rng, limits, BATCH)
    windows = [_window(drawn, i, limits.names) for i in range(BATCH)]
    # As if it were being followed already: where it begins is not what is looked at.
    passed = [w for w in windows if not window_trip(w, w, (w.start_ns,), limits)]
    if passed:
        judge_windows([as_sent(window) for window in passed], bounds_of(limits), verdict, what)
    return BATCH - len(passed)


def _window(drawn: Windows, i: int, names: tuple[str, ...]) -> Timeline[SteadyNs]:
    return Timeline(
        names,
        _START,
        drawn.knots_ns[i] / 1e9,
        drawn.positions[i],
        drawn.velocities[i],
        drawn.accelerations[i],
    )


def _positions(rng: np.random.Generator, limits: JointLimits, verdict: Verdict, what: str) -> int:
    """Judge what the gate lets pass of a batch of runs; how many of them it stopped."""
    drawn = random_runs(rng, limits, BATCH)
    stopped = 0
    for times_ns, positions in zip(drawn.times_ns.tolist(), drawn.positions, strict=True):
        ticks: list[Tick] = []
        for now_ns, position in zip(times_ns, positions, strict=True):
            if tick_trip(ticks[-TICKS_COMPARED:], SteadyNs(now_ns), position, limits):
                stopped += 1
                break
            ticks.append((now_ns, position))
        if ticks:
            times, passed = zip(*ticks, strict=True)
            judge_commands(list(times), list(passed), bounds_of(limits), verdict, what)
    return stopped

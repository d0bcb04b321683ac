# SPDX-License-Identifier: Apache-2.0
"""Does the supervisor ever send anything unsafe? Random streams, and an oracle of its own.

Every robot file is used, both with windows (joint_trajectory_controller) and with single positions
(forward_command_controller): what the supervisor may send does not depend on what the robot in the
file has.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from levine_policy_node.bench.unsafe_campaign import Judged, bounds_of
from levine_policy_node.bench.unsafe_disturbances import DISTURBANCES
from levine_policy_node.bench.unsafe_oracle import (
    Motion,
    Verdict,
    judge_commands,
    judge_seam,
    judge_windows,
)
from levine_policy_node.bench.unsafe_streams import SEQUENCES, TICKS, Life, Sent, moving
from levine_policy_node.core.modes import COMMANDING
from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import FloatArray, SteadyNs, nanoseconds
from levine_policy_node.robot import Robot, load_robot, robots_directory

_HISTORY = 3
_STOOD_TICKS = 3.5
_LATE_TICKS = 1.5


@dataclass
class Campaign(Judged):
    """What a campaign has judged so far; see `Judged`.

    Attributes:
        ticks: Ticks of the sequences.
        moving: Ticks in which a policy or a person moved the arm.
        tripped: Times the last gate refused what the shaper had made; nothing was sent then.
    """

    ADDED = (*Judged.ADDED, "ticks", "moving", "tripped")

    ticks: int = 0
    moving: int = 0
    tripped: int = 0

    @property
    def summary(self) -> str:
        """For people."""
        return (
            f"{self.sequences} sequences ({self.ticks} ticks, {self.moving} of them moving), "
            f"refused at the last gate: {self.tripped}"
        )

    def results(self) -> dict[str, Any]:
        """Figures for JSON."""
        own = {"ticks": self.ticks, "ticks_moving": self.moving, "gate_trips": self.tripped}
        return {**super().results(), **own}


def run_campaign(
    sequences: int,
    seed: int,
    first: int = 0,
) -> Campaign:
    """Run sequences number `first` to `first + sequences`, rounded up to whole lives.

    Which sequence does what depends on `seed` and its number only, so a campaign may be split over
    processes and machines, and any life of it run again.

    Args:
        sequences: How many.
        seed: Of all of them.
        first: Number of the first; rounded down to a whole life.
    """
    robots = [load_robot(path.stem) for path in sorted(robots_directory().glob("*.yaml"))]
    campaign = Campaign()
    began_s = time.process_time()
    begin = first // SEQUENCES
    for number in range(begin, begin + -(-sequences // SEQUENCES)):
        robot = robots[number % len(robots)]
        _run_life(campaign, robot, seed, number, windows=number // len(robots) % 2 == 0)
    campaign.seconds = time.process_time() - began_s
    return campaign


def options_of(robot: Robot, *, windows: bool) -> SupervisorOptions:
    """How the supervisor of this robot is set up, with the parameters of its defaults."""
    return SupervisorOptions(
        limits=robot.limits(),
        home=robot.home_position(),
        exempt=~robot.arm_joints(),
        sends_windows=windows,
    )


def _run_life(campaign: Campaign, robot: Robot, seed: int, number: int, *, windows: bool) -> None:
    options = options_of(robot, windows=windows)
    life = Life(options, np.random.default_rng([seed, number]))
    sent: list[Sent] = []
    # What is too large for the arithmetic is told by the result, not by a warning.
    with np.errstate(all="ignore"):
        for _ in range(SEQUENCES):
            disturb = DISTURBANCES[int(life.rng.integers(len(DISTURBANCES)))]
            sent.extend(life.sequence(disturb))
    what = f"{robot.name}, {'windows' if windows else 'positions'}, life {number} of seed {seed}"
    judged = judge(sent, options, what)
    campaign.sequences += SEQUENCES
    campaign.ticks += SEQUENCES * TICKS
    campaign.moving += moving(sent)
    campaign.tripped += sum(
        o.name == "GATE_TRIPPED" for one in sent for o in one.decision.occurrences
    )
    campaign.verdicts.setdefault(robot.name, Verdict()).merge(judged)


def judge(sent: list[Sent], options: SupervisorOptions, what: str) -> Verdict:
    """Judge everything that one supervisor sent, in order."""
    bounds = bounds_of(options.limits)
    verdict = Verdict()
    windows: list[Motion] = []
    before: Motion | None = None
    for one in sent:
        if one.decision.window is not None:
            motion = as_sent(one.decision.window)
            if before is not None:
                lead_ns = nanoseconds(options.lead_s)
                times = [one.now_ns, one.now_ns + lead_ns // 2, one.now_ns + lead_ns]
                judge_seam(before, motion, times, verdict, what)
            windows.append(motion)
            before = motion
        elif one.decision.rest is not None:
            before = _standing(one.now_ns, one.decision.rest.position)
        elif one.decision.mode.mode not in COMMANDING:
            before = None
    if windows:
        judge_windows(windows, bounds, verdict, what)
    for times, positions in _runs(sent, options):
        judge_commands(times, positions, bounds, verdict, what)
    return verdict


def _standing(now_ns: int, position: FloatArray) -> Motion:
    """What a controller does that was told where to come to rest: it will be there."""
    still = np.zeros((1, len(position)))
    return Motion(now_ns, np.zeros(1, dtype=np.int64), position[None], still, still)


def as_sent(window: Timeline[SteadyNs]) -> Motion:
    """What the message of a window says: times in whole nanoseconds."""
    knots_ns = np.rint(window.times_s * 1e9).astype(np.int64)
    return Motion(
        int(window.start_ns), knots_ns, window.positions, window.velocities, window.accelerations
    )


def _runs(
    sent: list[Sent], options: SupervisorOptions
) -> list[tuple[list[int], list[np.ndarray]]]:
    """Commands that follow each other, with when the arm is told each.

    A controller of windows is told of a late command by the window it has. One of single positions
    holds the last of them meanwhile: to it a late command comes one tick after the one before, and
    after some ticks of nothing the arm stands.
    """
    tick_ns = nanoseconds(options.tick_s)
    runs: list[tuple[list[int], list[np.ndarray]]] = []
    running, last_ns = False, 0
    for one in sent:
        if one.decision.command is None:
            running = False
            continue
        position, gap_ns = one.decision.command.position, one.now_ns - last_ns
        if not options.sends_windows and running and gap_ns > _LATE_TICKS * tick_ns:
            if gap_ns > _STOOD_TICKS * tick_ns:
                held = runs[-1][1][-1]
                runs.append(([-k * tick_ns for k in (3, 2, 1)], [held] * _HISTORY))
            gap_ns = tick_ns
        if not running:
            runs.append(([], []))
        times, positions = runs[-1]
        times.append((times[-1] if times else 0) + (gap_ns if running else 0))
        positions.append(position)
        running, last_ns = True, one.now_ns
    return runs

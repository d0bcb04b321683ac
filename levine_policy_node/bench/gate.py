# SPDX-License-Identifier: Apache-2.0
"""What the last check before a command costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from levine_policy_node.bench.poses import pose_about_home
from levine_policy_node.core.gate import TICKS_COMPARED, Tick, tick_trip, window_trip
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.shaper import move_to
from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.errors import LevineError
from levine_policy_node.robot import Robot

_TICK_S = 0.01
_WARM_UP = 100


class GateTrippedError(LevineError, RuntimeError):
    """The gate refused what the shaper made, so its time says nothing."""


@dataclass(frozen=True, slots=True)
class GateCost:
    """Of one robot; processor time of the thread [ms].

    Attributes:
        robot: Its name.
        joints: How many it has.
        windows: How many were judged, and as many single positions.
        window_ms_p50: A window of a trajectory controller.
        window_ms_p99: The same.
        position_ms_p50: A single position.
        position_ms_p99: The same.
    """

    robot: str
    joints: int
    windows: int
    window_ms_p50: float
    window_ms_p99: float
    position_ms_p50: float
    position_ms_p99: float


def measure(robot: Robot, windows: int, seed: int = 0) -> GateCost:
    """Judge every tick of motions between random poses about home.

    Raises:
        GateTrippedError: If one of them is refused.
    """
    rng, taken = np.random.default_rng(seed), []
    while len(taken) < _WARM_UP + windows:
        taken += _motion(rng, robot)
    judged = np.array(taken[_WARM_UP : _WARM_UP + windows])
    window, position = (np.percentile(column, [50, 99]).round(3).tolist() for column in judged.T)
    return GateCost(robot.name, len(robot.joint_names), windows, *window, *position)


def _motion(rng: np.random.Generator, robot: Robot) -> list[tuple[float, float]]:
    """Times [ms] of a window and a position for every tick of one motion."""
    limits, home = robot.limits(), robot.home_position()
    way = move_to(JointPoint.at_rest(home), pose_about_home(rng, robot), limits, SteadyNs(0))
    if way is None:
        return []
    options = SupervisorOptions(limits, home, ~robot.arm_joints())
    plan, sent = Plan(way, ((0, "policy"),)), None
    ticks: list[Tick] = []
    taken: list[tuple[float, float]] = []
    for now in range(0, way.end_ns, nanoseconds(_TICK_S)):
        now_ns, ends_ns = SteadyNs(now), SteadyNs(now + nanoseconds(options.window_s))
        window, _ = plan.window(now_ns, ends_ns, limits)
        seams = (now_ns, SteadyNs(now + nanoseconds(options.kept_s)))
        position, before = plan.sample(now_ns).position, ticks[-TICKS_COMPARED:]
        taken.append(
            (
                _timed(lambda: window_trip(window, sent, seams, limits)),  # noqa: B023  called here
                _timed(lambda: tick_trip(before, now_ns, position, limits)),  # noqa: B023
            )
        )
        sent = window
        ticks.append((now, position))
    return taken


def _timed(judge: Callable[[], str]) -> float:
    begin_ns = time.thread_time_ns()
    trip = judge()
    taken_ns = time.thread_time_ns() - begin_ns
    if trip:
        raise GateTrippedError(f"the gate refused a motion within the limits: {trip}")
    return taken_ns / 1e6

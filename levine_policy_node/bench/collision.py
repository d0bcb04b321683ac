# SPDX-License-Identifier: Apache-2.0
"""What it costs to check where a chunk leads."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from levine_policy_node.bench.poses import pose_about_home
from levine_policy_node.core.collision_rules import Obstacles
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.plan import Plan, with_brake
from levine_policy_node.core.reference import Rejected
from levine_policy_node.core.safe_way import keep_clear
from levine_policy_node.core.shaper import move_to
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import NS_PER_S, FloatArray, SteadyNs, nanoseconds
from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.collision_model import CollisionModel, collision_model

CHUNK_S = 1.6
"""As long as a chunk of the demo policy [s]."""

# Of what the joints may do.
_SPEED = 0.4
_WARM_UP = 20


@dataclass(frozen=True, slots=True)
class CheckCost:
    """Of one robot; times are processor time of the thread [ms].

    Attributes:
        robot: Its name.
        pairs: Of bodies that are checked.
        chunks: How many were.
        clear_ms_p50: A chunk that is clear.
        clear_ms_p99: The same.
        cut: How many were cut or refused.
        cut_ms_p50: One of those, with its brake.
        cut_ms_p99: The same.
    """

    robot: str
    pairs: int
    chunks: int
    clear_ms_p50: float
    clear_ms_p99: float
    cut: int
    cut_ms_p50: float
    cut_ms_p99: float


def measure(robot: Robot, chunks: int, seed: int = 0) -> CheckCost:
    """Check random chunks through two poses about home.

    Raises:
        ConfigError: If the robot file says of nothing that the arm must stay clear of.
    """
    around = collision_model(robot)
    if around is None:
        raise ConfigError(
            str(robot.path), "collision", "is missing", "Without it nothing is checked"
        )
    rng, limits = np.random.default_rng(seed), robot.limits()
    plans = [_plan(rng, robot, limits.slowed(_SPEED)) for _ in range(_WARM_UP + chunks)]
    taken = [_taken(plan, limits, around) for plan in plans][_WARM_UP:]
    clear = np.array([ms for ms, cut in taken if not cut] or [np.nan])
    cut = np.array([ms for ms, cut in taken if cut] or [np.nan])
    return CheckCost(
        robot.name,
        _pairs(around),
        chunks,
        *_percentiles(clear),
        sum(1 for _, was_cut in taken if was_cut),
        *_percentiles(cut),
    )


def _percentiles(times_ms: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(times_ms, [50, 99])
    return round(float(low), 3), round(float(high), 3)


def _pairs(around: CollisionModel) -> int:
    return len(around.names)


def _plan(rng: np.random.Generator, robot: Robot, limits: JointLimits) -> Plan:
    """Towards two poses for the length of a chunk, and a brake, as `Plan` would follow one."""
    home, poses = robot.home_position(), [pose_about_home(rng, robot) for _ in range(2)]
    whole = move_to(JointPoint.at_rest(home), poses[0], limits, SteadyNs(0))
    if whole is None:
        return _plan(rng, robot, limits)
    for pose in (poses[1], poses[0]):
        if whole.duration_s >= CHUNK_S:
            break
        leg = move_to(
            JointPoint.at_rest(whole.positions[-1]), pose, limits, SteadyNs(whole.end_ns)
        )
        whole = whole if leg is None else whole.then(leg)
    if whole.duration_s > CHUNK_S:
        whole = whole.window(SteadyNs(0), SteadyNs(nanoseconds(CHUNK_S)))
    ended = with_brake(whole, limits, SteadyNs(0))
    return _plan(rng, robot, limits) if ended is None else Plan(ended[0], ((0, "policy"),))


def _taken(plan: Plan, limits: JointLimits, around: Obstacles) -> tuple[float, bool]:
    """Processor time of one check [ms], and whether the plan was cut or refused."""
    begin_ns = time.thread_time_ns()
    kept = keep_clear(plan, SteadyNs(0), limits, around)
    taken_ms = (time.thread_time_ns() - begin_ns) / NS_PER_S * 1e3
    return taken_ms, isinstance(kept, Rejected) or bool(kept.cut)

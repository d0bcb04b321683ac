# SPDX-License-Identifier: Apache-2.0
"""Reaching, for those who collect demonstrations of it or learn it by trial.

`levine eval --task reach` scores what comes out of it on the whole runtime; here an episode takes
a fraction of a second, because only the physics runs and each row is played as a straight line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray
from levine_policy_node.sim.arm import HOME_POSITION, SimArm
from levine_policy_node.sim.expert import PERIOD_S, MotionLimits, advance, wanted_speed
from levine_policy_node.sim.kinematics import ArmKinematics, HandPose
from levine_policy_node.sim.tasks import ReachTask

_TICK_S = 0.01
_SPEED_RAD_S = 2.0
_YAW = 0.0
_ITERATIONS = 60


@dataclass(frozen=True, slots=True)
class ReachState:
    """What a policy sees.

    Attributes:
        position: Measured joints (6,) [rad].
        velocity: (6,) [rad/s].
        goal: Where the hand is to be, in the base frame (3,) [m].
    """

    position: FloatArray
    velocity: FloatArray
    goal: FloatArray


class ReachExpert:
    """Knows one posture for every place, and a jerk-limited way there; has no memory."""

    def __init__(self, limits: MotionLimits | None = None) -> None:
        self._kinematics = ArmKinematics()
        self._limits = limits or MotionLimits()

    def posture(self, goal: FloatArray) -> FloatArray:
        """Joint positions (6,) [rad] with the hand at `goal` (3,) [m], the gripper as at home."""
        home = np.array(HOME_POSITION)
        arm = self._kinematics.solve(HandPose(goal, _YAW), home, iterations=_ITERATIONS)
        return np.array([*arm, home[-1]])

    def rows(self, position: FloatArray, posture: FloatArray, count: int) -> FloatArray:
        """The next `count` joint targets (count, 6) [rad] on the way to `posture`, 0.1 s apart.

        They begin at the speed the expert would have at `position` (6,) [rad], so they are a
        function of where the arm is, whatever its speed.
        """
        speed = wanted_speed(posture - position, self._limits)
        point = JointPoint(np.array(position), speed, np.zeros_like(speed))
        rows: list[FloatArray] = []
        for _ in range(count):
            point = advance(point, posture, self._limits)
            rows.append(point.position)
        return np.stack(rows)


class ReachEnvironment:
    """The task on the simulated arm, without the runtime: reset, step, look."""

    def __init__(self) -> None:
        self.arm = SimArm()
        self.task = ReachTask()

    def reset(self, seed: int) -> ReachState:
        """Start the episode `seed`: the same start and goal as in `levine eval`."""
        self.task.reset(self.arm, seed)
        self._begin_s = self.arm.time_s
        return self.state()

    def state(self) -> ReachState:
        """What a policy would see now."""
        goal = self.task.goal
        if goal is None:
            raise RuntimeError("reset the environment first")
        reading = self.arm.joint_reading()
        return ReachState(reading.position, reading.velocity, goal.position)

    def step(self, target: FloatArray, period_s: float = PERIOD_S) -> ReachState:
        """Move the command straight to `target` (6,) [rad] within `period_s` [s].

        A target that is too far away is not reached: no joint is commanded faster than 2 rad/s.
        """
        ticks = max(round(period_s / _TICK_S), 1)
        start = self.arm.setpoint
        most = _SPEED_RAD_S * ticks * _TICK_S
        way = np.clip(target - start, -most, most)
        for tick in range(1, ticks + 1):
            self.arm.apply(start + way * (tick / ticks))
            self.arm.advance(_TICK_S)
        return self.state()

    @property
    def reached(self) -> bool:
        """Whether the hand rests at the goal now."""
        return self.task.succeeded(self.arm)

    @property
    def over(self) -> bool:
        """Whether the episode has ended, won or not."""
        return self.reached or self.arm.time_s - self._begin_s > self.task.horizon_s

# SPDX-License-Identifier: Apache-2.0
"""A scripted expert for pick-and-place that knows where the cube is.

It teaches the vision policy and never runs on a robot. What it wants next depends on the present
state of arm and cube only, never on a hidden phase: near-identical images then have near-identical
labels, which a policy without memory can learn, and it can take over from any state.

Its motion keeps joint velocity, acceleration and jerk within `MotionLimits`, well inside what the
robot allows, so that a spline through its targets does too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray
from levine_policy_node.sim.arm import SimArm
from levine_policy_node.sim.kinematics import ArmKinematics, HandPose
from levine_policy_node.sim.tasks import (
    BIN_CENTRE,
    CUBE_HALF_SIZE,
    cube_in_bin,
    cube_position,
    cube_yaw,
    holds_cube,
)

PERIOD_S = 0.1
"""Time between two targets [s]."""

_OPEN, _CLOSED = 1.0, 0.12
_CARRY_HEIGHT = 0.11
_DROP_HEIGHT = 0.10
_RETREAT_HEIGHT = 0.14
_HOVER = 0.07
_BIN_YAW = 0.0


@dataclass(frozen=True, slots=True)
class MotionLimits:
    """How fast the expert moves every joint: [rad/s], [rad/s^2], [rad/s^3]."""

    velocity: float = 1.0
    acceleration: float = 4.0
    jerk: float = 30.0


@dataclass(frozen=True, slots=True)
class _Wish:
    """Where the hand should be heading, and how wide the gripper [rad]."""

    pose: HandPose
    gripper: float


class Expert:
    """Gives one joint target per `PERIOD_S` for the state the simulation is in."""

    def __init__(self, arm: SimArm, limits: MotionLimits | None = None) -> None:
        self._arm = arm
        self._limits = limits or MotionLimits()
        self._kinematics = ArmKinematics()
        self._point = JointPoint.at_rest(arm.setpoint)

    def begin(self, point: JointPoint) -> None:
        """Take over from a command with this position, velocity and acceleration."""
        self._point = point

    def begin_in_flow(self, position: FloatArray) -> JointPoint:
        """Take over from a command at `position` (6,) [rad] as if already under way.

        The speed is the one the expert would have there. What follows is then a function of where
        the arm is, whatever its speed.
        """
        self.begin(JointPoint.at_rest(position))
        speed = wanted_speed(self._goal() - position, self._limits)
        self._point = JointPoint(np.array(position), speed, np.zeros_like(speed))
        return self._point

    def act(self) -> JointPoint:
        """Advance the command by one period and return where it is then, (6,) each.

        The jerk is constant over the period, so the command in between is the cubic that both
        ends define.
        """
        self._point = advance(self._point, self._goal(), self._limits)
        return self._point

    def _goal(self) -> FloatArray:
        """The wish as joint positions (6,) [rad]."""
        wish = self._wish()
        arm = self._kinematics.solve(wish.pose, self._point.position)
        return np.array([*arm, wish.gripper])

    def _wish(self) -> _Wish:
        """The policy of the expert: a funnel over the cube, then lift, carry, drop, retreat."""
        cube = cube_position(self._arm)
        reading = self._arm.joint_reading().position
        hand = self._kinematics.grasp_point(reading)
        from_bin = float(np.linalg.norm(hand[:2] - BIN_CENTRE))
        if cube_in_bin(cube):
            return _Wish(_at(0.9 * BIN_CENTRE, _RETREAT_HEIGHT, _BIN_YAW), _OPEN)
        over_bin = bool(np.all(np.abs(cube[:2] - BIN_CENTRE) < 0.03)) and cube[2] > 0.045
        if over_bin and from_bin < 0.03:
            return _Wish(_at(BIN_CENTRE, _DROP_HEIGHT, _BIN_YAW), _OPEN)
        if holds_cube(self._arm) and reading[5] < 0.62:
            return self._carry(hand)
        return self._reach(hand, cube, float(reading[5]))

    def _carry(self, hand: FloatArray) -> _Wish:
        """Straight up first, and over to the bin once clear of its wall."""
        clear = float(np.clip((hand[2] - 0.05) / 0.03, 0.0, 1.0))
        place = self._kinematics.grasp_point(self._point.position)[:2]
        yaw = cube_yaw(self._arm) * (1.0 - clear) + _BIN_YAW * clear
        goal = place + (BIN_CENTRE - place) * clear
        return _Wish(_at(goal, _CARRY_HEIGHT, yaw), _CLOSED)

    def _reach(self, hand: FloatArray, cube: FloatArray, gripper: float) -> _Wish:
        """Come down on the cube along a funnel; close when around it."""
        yaw = cube_yaw(self._arm)
        off = float(np.linalg.norm(hand[:2] - cube[:2]))
        above = float(hand[2]) - CUBE_HALF_SIZE
        closing = gripper < 0.75 and off < 0.012 and above < 0.012
        if closing or (off < 0.009 and above < 0.007):
            # Stand still: following the cube that the moving jaw pushes would run away with it.
            place = self._kinematics.grasp_point(self._point.position)[:2]
            return _Wish(_at(place, CUBE_HALF_SIZE, yaw), _CLOSED)
        height = CUBE_HALF_SIZE + float(np.clip((off - 0.005) * 3.0, 0.0, _HOVER))
        if gripper < 0.7:
            height += 0.03
        # Below the funnel the hand would sweep the cube away: up first, then sideways.
        low = float(np.clip((height - hand[2]) / 0.02, 0.0, 1.0))
        place = self._kinematics.grasp_point(self._point.position)[:2]
        return _Wish(_at(cube[:2] + (place - cube[:2]) * low, height, yaw), _OPEN)


def _at(place: FloatArray, height: float, yaw: float) -> HandPose:
    return HandPose(np.array([place[0], place[1], height]), yaw)


# Tuned on step responses: no overshoot above 3 %, within 3 % of a far goal after 2 s.
_GAIN, _LAG_S, _LOOKAHEAD, _BRAKING = 2.5, 0.12, 0.75, 2.0


def advance(point: JointPoint, goal: FloatArray, limits: MotionLimits) -> JointPoint:
    """One period of a jerk-limited approach to `goal` (6,) [rad].

    The acceleration follows the wanted speed with a lag.
    """
    dt, ahead = PERIOD_S, _LOOKAHEAD * PERIOD_S
    p, v, a = point.position, point.velocity, point.acceleration
    speed = wanted_speed(goal - (p + ahead * v + 0.5 * ahead**2 * a), limits)
    wanted = (speed - (v + ahead * a)) / _LAG_S
    wanted = np.clip(wanted, -limits.acceleration, limits.acceleration)
    jerk = np.clip((wanted - a) / dt, -limits.jerk, limits.jerk)
    return JointPoint(
        p + dt * v + dt**2 / 2 * a + dt**3 / 6 * jerk,
        v + dt * a + dt**2 / 2 * jerk,
        a + dt * jerk,
    )


def wanted_speed(error: FloatArray, limits: MotionLimits) -> FloatArray:
    """Speed towards a goal `error` (6,) [rad] away: linear near it, constant braking further."""
    far = np.abs(error)
    speed = np.minimum(_GAIN * far, np.sqrt(2.0 * _BRAKING * far))
    return np.sign(error) * np.minimum(speed, limits.velocity)

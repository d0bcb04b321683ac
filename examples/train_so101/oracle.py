# SPDX-License-Identifier: Apache-2.0
"""What the expert would do from here: the label of every training sample."""

from __future__ import annotations

import numpy as np
from pipeline import ROW_S, ROWS, Robot

from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.sim.arm import SimArm
from levine_policy_node.sim.expert import Expert
from levine_policy_node.sim.scene import JOINT_NAMES

_GRIPPER = JOINT_NAMES.index("gripper")
_TICK_S = 0.02
_TICKS = round(ROW_S / _TICK_S)


class Oracle:
    """Copies the simulation and lets the expert drive the copy for one chunk.

    The plan starts at full flow, whatever the arm's present speed. A policy that sees positions
    only cannot know the speed: taught plans that speed up from rest, it never gets going, since
    every new plan replaces the last one before its slow start is over. Meeting the acceleration
    limits from the present speed is the work of merging.
    """

    def __init__(self) -> None:
        self._arm = SimArm()
        # Twice the robot's step: half the cost, and labels do not need more.
        self._arm.model.opt.timestep = 0.004
        self._expert = Expert(self._arm)

    def chunk(self, robot: Robot, committed: int = 0) -> FloatArray:
        """Joint targets (16, 6) [rad] of the expert from the robot's present state.

        Args:
            robot: Stays as it is.
            committed: So many rows are what the robot will do anyway while a slow policy computes;
                the expert goes on from where they end, at their speed.
        """
        self._arm.copy_state(robot.arm)
        if committed:
            return self._after(robot, committed)
        # From where the arm is, not from where it is told to be, which the policy cannot see;
        # but the gripper goes on squeezing.
        start = robot.arm.joint_reading().position
        start[_GRIPPER] = robot.command().position[_GRIPPER]
        return np.stack(self._act(self._expert.begin_in_flow(start), ROWS))

    def _after(self, robot: Robot, committed: int) -> FloatArray:
        rows = [robot.command((row + 1) * ROW_S).position for row in range(committed)]
        for tick in range(committed * _TICKS):
            self._arm.apply(robot.command((tick + 1) * _TICK_S).position)
            self._arm.advance(_TICK_S)
        point = robot.command(committed * ROW_S)
        self._expert.begin(point)
        return np.stack(rows + self._act(point, ROWS - committed))

    def _act(self, point: JointPoint, count: int) -> list[FloatArray]:
        rows: list[FloatArray] = []
        for _ in range(count):
            following = self._expert.act()
            self._drive(point, following)
            rows.append(following.position)
            point = following
        return rows

    def _drive(self, begin: JointPoint, end: JointPoint) -> None:
        period = Timeline(
            JOINT_NAMES,
            StampNs(0),
            np.array([0.0, ROW_S]),
            np.stack([begin.position, end.position]),
            np.stack([begin.velocity, end.velocity]),
            np.stack([begin.acceleration, end.acceleration]),
        )
        for tick in range(1, _TICKS + 1):
            self._arm.apply(period.sample_s(tick * _TICK_S).position)
            self._arm.advance(_TICK_S)

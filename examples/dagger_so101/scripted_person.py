# SPDX-License-Identifier: Apache-2.0
"""The scripted person: sees the whole scene, judges the policy, and knows how to go on.

What it sees is the simulation's own truth (`qpos` of `sim/episode`), put into a copy of the scene;
the policy sees two cameras and the joints.
"""

from __future__ import annotations

import numpy as np
from takeover_rule import Facts, Rule, Watched, may_hand_back, why_take_over

from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.sim.arm import SceneState, SimArm
from levine_policy_node.sim.expert import PERIOD_S, Expert
from levine_policy_node.sim.kinematics import ArmKinematics
from levine_policy_node.sim.scene import JOINT_NAMES
from levine_policy_node.sim.tasks import cube_in_bin, cube_position, holds_cube

_GRIPPER = JOINT_NAMES.index("gripper")


class ScriptedPerson:
    """Watches at 10 Hz; while it has the arm, says where the arm is to go until the next look.

    Attributes:
        reasons: Why it took over, in order, in this episode.
    """

    def __init__(self, rule: Rule | None = None) -> None:
        self._rule = rule or Rule()
        self._arm = SimArm()
        self._kinematics = ArmKinematics()
        self._expert = Expert(self._arm)
        self._point = JointPoint.at_rest(self._arm.setpoint)
        self._watched: Watched | None = None
        self._taken_s: float | None = None
        self._motion: Timeline[StampNs] | None = None
        self.reasons: list[str] = []

    def begin_episode(self) -> None:
        """Forget the last episode."""
        self._watched = self._taken_s = self._motion = None
        self.reasons = []

    def watch(self, scene: SceneState) -> str:
        """Look on while the policy drives; why to take over, or ""."""
        facts = self._look(scene)
        if self._watched is None:
            self._watched = Watched.beginning(facts)
        self._watched = self._watched.after(facts, self._rule)
        return why_take_over(self._watched, facts, self._rule)

    def take(self, command: JointPoint, time_s: float, reason: str) -> None:
        """Have the arm, commanded to be at `command`, from `time_s` [s] of the scene on."""
        self._taken_s = time_s
        self._expert.begin(command)
        self._point, self._motion = command, None
        self.reasons.append(reason)

    def drive(self, scene: SceneState) -> bool:
        """Look, and go on for one period; False once the policy can have the arm again."""
        facts = self._look(scene)
        if self._taken_s is None or may_hand_back(self._taken_s, facts, self._rule):
            self._let_go(Watched.beginning(facts, lifted=True))
            return False
        begin, self._point = self._point, self._expert.act()
        self._motion = _cubic(begin, self._point)
        return True

    def wanted(self, after_s: float) -> FloatArray | None:
        """Joint targets (6,) [rad] `after_s` [s] after the last look; None before the first."""
        return None if self._motion is None else self._motion.sample_s(after_s).position

    def lose(self, scene: SceneState) -> None:
        """The arm was stopped; judge the policy anew from here on."""
        self._let_go(Watched.beginning(self._look(scene)))

    def _let_go(self, watched: Watched) -> None:
        self._taken_s, self._motion, self._watched = None, None, watched

    def _look(self, scene: SceneState) -> Facts:
        self._arm.show(scene)
        joints = self._arm.joint_reading().position
        cube = cube_position(self._arm)
        return Facts(
            time_s=scene.time_s,
            hand=self._kinematics.grasp_point(joints),
            cube=cube,
            gripper=float(joints[_GRIPPER]),
            held=holds_cube(self._arm),
            in_bin=cube_in_bin(cube),
        )


def _cubic(begin: JointPoint, end: JointPoint) -> Timeline[StampNs]:
    """The motion of constant jerk between two points one period apart."""
    return Timeline(
        JOINT_NAMES,
        StampNs(0),
        np.array([0.0, PERIOD_S]),
        np.stack([begin.position, end.position]),
        np.stack([begin.velocity, end.velocity]),
        np.stack([begin.acceleration, end.acceleration]),
    )

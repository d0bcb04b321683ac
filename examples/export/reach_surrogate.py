# SPDX-License-Identifier: Apache-2.0
"""The reach task without physics, many arms at once, to learn from; never what is evaluated.

Forward kinematics of the simulated SO-101 in NumPy, and a linear response in the place of runtime,
controller and servos: how far the joints go in a period towards the newest target and those before
it, and on by themselves. It was fitted to episodes of `levine eval --direct` and differs from
episode to episode, so that what is learned does not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from export_common import SO101_HOME, FloatArray

from levine_policy_node.sim.kinematics import ArmKinematics, HandPose
from levine_policy_node.sim.scene import JOINT_NAMES, load_model

MOVE = 0.25
"""How far a target may be from the measured joints [rad]."""

MEAN = (*SO101_HOME, 0.21, 0.0, 0.13)
STD = (0.4, 0.4, 0.3, 0.3, 0.5, 0.1, 0.04, 0.09, 0.03)
"""Of observations: joints [rad] and goal [m]."""

_GOAL_LOW, _GOAL_HIGH = (0.14, -0.16, 0.07), (0.28, 0.16, 0.19)
_ARM = 5
_HOME_NOISE = 0.3
_SAG = 0.02
_SPEED = 2.0
_YAW = 0.0


@dataclass(frozen=True)
class Response:
    """What targets do, in ranges from which each episode draws.

    Attributes:
        period_s: Time between targets [s].
        towards: Shares of the way to the newest target, and to those before it.
        on: Share of the last motion that goes on.
    """

    period_s: float
    towards: tuple[tuple[float, float], ...]
    on: tuple[float, float]


# A target does nothing before the next: fit for imitation. An actor without memory that learns by
# trial cannot know what is still to come, and swings from one end to the other.
AT_10_HZ = Response(0.1, ((-0.15, 0.05), (0.15, 0.4), (0.08, 0.25), (0.05, 0.15)), (0.1, 0.3))
AT_5_HZ = Response(0.2, ((0.15, 0.45), (0.15, 0.35)), (0.05, 0.3))


class Kinematics:
    """Forward kinematics of the five arm joints for many arms at once."""

    def __init__(self) -> None:
        model = load_model()
        bodies = [model.body(int(model.joint(name).bodyid[0])) for name in JOINT_NAMES[:_ARM]]
        base = model.body(int(bodies[0].parentid[0]))
        self._root = _pose(base.pos, base.quat)
        self._links = [_pose(body.pos, body.quat) for body in bodies]
        span = np.array([model.joint(name).range for name in JOINT_NAMES])
        self.lower, self.upper = span[:, 0], span[:, 1]
        hand = self._hand(np.zeros((1, _ARM)))[0]
        point = ArmKinematics().grasp_point(np.zeros(_ARM))
        self._grasp = np.append(hand[:3, :3].T @ (point - hand[:3, 3]), 1.0)

    def grasp_point(self, joints: FloatArray) -> FloatArray:
        """Grasp points (B, 3) [m] in the base frame, for joints (B, 5) or (B, 6) [rad]."""
        return (self._hand(joints) @ self._grasp)[:, :3]

    def _hand(self, joints: FloatArray) -> FloatArray:
        pose = np.broadcast_to(self._root, (len(joints), 4, 4))
        for joint, link in enumerate(self._links):
            turn = np.zeros((len(joints), 4, 4))
            cos, sin = np.cos(joints[:, joint]), np.sin(joints[:, joint])
            turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1] = cos, -sin, sin, cos
            turn[:, 2, 2] = turn[:, 3, 3] = 1.0
            pose = pose @ link @ turn
        return pose


def _pose(position: FloatArray, quaternion: FloatArray) -> FloatArray:
    """Homogeneous transformation from a position and a quaternion (w, x, y, z)."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = position
    return pose


@dataclass
class Arms:
    """B arms, each with a goal.

    Attributes:
        joints: Measured, (B, 6) [rad].
        goal: (B, 3) [m].
        joints_before: A period ago, (B, 6) [rad].
        targets: The last H, the newest first, (B, H, 6) [rad].
        towards: Shares of the way to the next target and to those, (B, 1 + H, 1).
        on: Share of the last motion that goes on, (B, 1).
        sag: How far below a target the joints end, (B, 6) [rad].
    """

    joints: FloatArray
    goal: FloatArray
    joints_before: FloatArray
    targets: FloatArray
    towards: FloatArray
    on: FloatArray
    sag: FloatArray

    def begin_again(self, which: npt.NDArray[np.bool_], fresh: Arms) -> None:
        """Take those of `which` (B,) from `fresh`."""
        for name in self.__dataclass_fields__:
            values = getattr(self, name).copy()
            values[which] = getattr(fresh, name)[which]
            setattr(self, name, values)


class Surrogate:
    """Starts and moves many arms."""

    def __init__(self, seed: int, response: Response = AT_10_HZ) -> None:
        self._rng = np.random.default_rng(seed)
        self._response = response
        self.kinematics = Kinematics()

    def begin(self, count: int) -> Arms:
        """New episodes: half begin near home, half somewhere else."""
        rng = self._rng
        spread = np.where(rng.random((count, 1)) < 0.5, 0.03, _HOME_NOISE)
        joints = np.array(SO101_HOME) + spread * rng.uniform(-1, 1, (count, _ARM + 1))
        joints = np.clip(joints, self.kinematics.lower, self.kinematics.upper)
        sag = rng.uniform(-_SAG, _SAG, joints.shape)
        towards = [rng.uniform(*share, (count, 1)) for share in self._response.towards]
        return Arms(
            joints,
            self.goals(count),
            joints.copy(),
            np.repeat((joints + sag)[:, None], len(towards) - 1, axis=1),
            np.stack(towards, axis=1),
            rng.uniform(*self._response.on, (count, 1)),
            sag,
        )

    def goals(self, count: int) -> FloatArray:
        """Goals (count, 3) [m] as the task draws them."""
        return self._rng.uniform(_GOAL_LOW, _GOAL_HIGH, (count, 3))

    def move(self, arms: Arms, targets: FloatArray) -> None:
        """One period towards targets (B, 6) [rad]."""
        kinematics = self.kinematics
        targets = np.clip(targets, kinematics.lower, kinematics.upper)
        all_targets = np.concatenate([targets[:, None], arms.targets], axis=1)
        ways = all_targets - (arms.joints + arms.sag)[:, None]
        step = (arms.towards * ways).sum(axis=1) + arms.on * (arms.joints - arms.joints_before)
        most = _SPEED * self._response.period_s
        arms.joints_before, arms.targets = arms.joints, all_targets[:, :-1]
        arms.joints = arms.joints + np.clip(step, -most, most)

    def distance(self, arms: Arms) -> FloatArray:
        """How far each hand is from its goal (B,) [m]."""
        return np.linalg.norm(self.kinematics.grasp_point(arms.joints) - arms.goal, axis=1)

    def observation(self, arms: Arms) -> FloatArray:
        """Joints [rad] and goal [m], (B, 9)."""
        return np.concatenate([arms.joints, arms.goal], axis=1)


def inverse_kinematics(goals: FloatArray, joints: FloatArray) -> FloatArray:
    """Joints (B, 6) [rad] that bring the grasp points to goals (B, 3) [m]; the gripper stays."""
    kinematics = ArmKinematics()
    wanted = joints.copy()
    for row, goal in zip(wanted, goals, strict=True):
        for _ in range(3):
            row[:_ARM] = kinematics.solve(HandPose(goal, _YAW), row)
    return wanted

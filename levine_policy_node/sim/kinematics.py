# SPDX-License-Identifier: Apache-2.0
"""Where the hand is, and which joint angles bring it somewhere, on the MuJoCo model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.sim.scene import JOINT_NAMES, import_mujoco, load_model

_ARM = slice(0, 5)
# Wider than the cube: the fixed jaw must clear it on the way down, the moving jaw pushes it home.
_GRASP_GRIPPER = 0.52
_APPROACH = np.array([0.0, 0.0, -1.0])
_PAN_AXIS_X = 0.0388
_LIMIT_MARGIN = 0.03
_MAX_STEP = 0.4
_ROTATION_WEIGHT = 0.1
_DAMPING_MATRIX = 1e-5 * np.eye(5)
_CONVERGED = 1e-3


@dataclass(frozen=True, slots=True)
class HandPose:
    """A place for the grasp point (midway between the jaws) and the turn of the jaws.

    Attributes:
        position: Grasp point in the base frame (3,) [m].
        yaw: Direction across which the jaws close, about z, modulo pi [rad].
    """

    position: FloatArray
    yaw: float


class ArmKinematics:
    """Forward and inverse kinematics of the five arm joints; keeps its own MuJoCo data."""

    def __init__(self) -> None:
        self._mujoco = import_mujoco()
        self._model = load_model()
        self._data = self._mujoco.MjData(self._model)
        joints = [self._model.joint(name) for name in JOINT_NAMES]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])[_ARM]
        span = np.array([joint.range for joint in joints])
        self._lower, self._upper = span[_ARM, 0] + _LIMIT_MARGIN, span[_ARM, 1] - _LIMIT_MARGIN
        self._linear = np.zeros((3, self._model.nv))
        self._angular = np.zeros((3, self._model.nv))
        self._hand = self._model.body("gripper").id
        self._grasp_point, self._closing = self._grasp_frame()

    def grasp_point(self, position: FloatArray) -> FloatArray:
        """Grasp point for joint positions (5,) or (6,) [rad], in the base frame (3,) [m]."""
        return self._forward(position[_ARM])[0]

    def solve(self, pose: HandPose, start: FloatArray, iterations: int = 8) -> FloatArray:
        """Arm joint positions (5,) [rad] for `pose`, by damped least squares from `start`.

        Five joints cannot hold all six directions: position counts fully, the approach direction
        and the turn of the jaws by `_ROTATION_WEIGHT`. The nearest reachable pose is returned.
        Source: Buss, Introduction to Inverse Kinematics (2004), damped least squares.
        """
        joints = np.clip(start[_ARM], self._lower, self._upper)
        for _ in range(iterations):
            error, jacobian = self._linearise(pose, joints)
            normal = jacobian.T @ jacobian + _DAMPING_MATRIX
            step = np.linalg.solve(normal, jacobian.T @ error)
            step = np.minimum(np.maximum(step, -_MAX_STEP), _MAX_STEP)
            joints = np.minimum(np.maximum(joints + step, self._lower), self._upper)
            if float(np.abs(step).max()) < _CONVERGED:
                break
        return joints

    def _linearise(self, pose: HandPose, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weighted error (6,) and its Jacobian (6, 5) at `joints`."""
        point, turn = self._forward(joints)
        closing = turn @ self._closing
        across = (-math.sin(pose.yaw), math.cos(pose.yaw))
        turned = float(closing[0] * across[1] - closing[1] * across[0])
        if closing[0] * across[0] + closing[1] * across[1] < 0.0:
            turned = -turned
        rotation = _cross(turn @ _APPROACH, _approach(pose.position))
        rotation[2] += turned
        linear, angular = self._linear, self._angular
        self._mujoco.mj_jac(self._model, self._data, linear, angular, point, self._hand)
        error = np.concatenate([pose.position - point, _ROTATION_WEIGHT * rotation])
        jacobian = np.vstack([linear[:, self._dof], _ROTATION_WEIGHT * angular[:, self._dof]])
        return error, jacobian

    def _forward(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Grasp point (3,) and rotation (3, 3) of the hand."""
        self._data.qpos[self._qpos[_ARM]] = joints
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_comPos(self._model, self._data)
        turn = self._data.xmat[self._hand].reshape(3, 3)
        return self._data.xpos[self._hand] + turn @ self._grasp_point, turn

    def _grasp_frame(self) -> tuple[FloatArray, FloatArray]:
        """Grasp point and closing direction in the hand's frame, the jaws a cube apart."""
        self._data.qpos[self._qpos[-1]] = _GRASP_GRIPPER
        self._mujoco.mj_kinematics(self._model, self._data)
        turn = self._data.xmat[self._hand].reshape(3, 3)
        fixed = self._data.geom("fixed_jaw_pad").xpos
        moving = self._data.geom("moving_jaw_pad").xpos
        point = turn.T @ ((fixed + moving) / 2 - self._data.xpos[self._hand])
        closing = turn.T @ (moving - fixed)
        closing = closing - _APPROACH * (closing @ _APPROACH)
        return point, closing / np.linalg.norm(closing)


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cross product of two vectors (3,); numpy's costs ten times more for so little."""
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


def _approach(position: FloatArray) -> FloatArray:
    """Direction in which the hand points at `position` (3,): down, tilted outwards with height.

    wrist_flex ends at 1.66 rad and cannot keep the hand vertical above about 8 cm.
    """
    x, y = float(position[0]) - _PAN_AXIS_X, float(position[1])
    reach = math.hypot(x, y)
    far = max(0.0, reach - 0.2) * 2.0 if position[2] > 0.05 else 0.0
    tilt = min(max((float(position[2]) - 0.05) * 9.0 + far, 0.0), 0.9)
    out = math.sin(tilt) / reach
    return np.array([out * x, out * y, -math.cos(tilt)])

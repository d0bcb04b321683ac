# SPDX-License-Identifier: Apache-2.0
"""Where a robot's hand is, and which joint positions bring it along a row of poses."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.core.inverse_kinematics import Reached, pulled, reach
from levine_policy_node.core.singularity import condition, progress
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ConfigError, OutOfReachError, SystemDependencyError
from levine_policy_node.robot import Hand, Robot
from levine_policy_node.urdf import find_urdf, hand_joints

# An elbow is drawn to where it is at home, so that it does not drift over many motions.
_PULL_TIME_S = 5.0
_PULL_SHARE_OF_VELOCITY = 0.05
_FULL = 6


class HandKinematics:
    """Forward and inverse kinematics of a robot's hand, on its URDF.

    Args:
        robot: A robot file with a `hand`.

    Raises:
        ConfigError: If the robot file has no hand, or the URDF not its frames.
        SystemDependencyError: If pinocchio is not installed.
    """

    def __init__(self, robot: Robot) -> None:
        hand, names = robot.hand, hand_joints(robot)
        if hand is None:
            raise ConfigError(str(robot.path), "hand", "is missing", "Say which frame is the hand")
        self._pin = _pinocchio()
        self._hand: Hand = hand
        self.base: str = hand.base
        self._model = self._reduced(robot, names)
        self._data: Any = self._model.createData()
        self._frame: int = self._model.getFrameId(hand.frame)
        self._base = self._standing(hand.base)
        # pinocchio has an order of joints of its own.
        own: list[str] = list(self._model.names)[1:]
        self.joint_names: tuple[str, ...] = tuple(own)
        self.joints = np.array([robot.joint_names.index(name) for name in own], dtype=np.intp)
        limits = robot.limits()
        self._lower, self._upper = limits.lower[self.joints], limits.upper[self.joints]
        self._velocity = limits.velocity[self.joints]
        self._home = robot.home_position()[self.joints]

    def pose(self, positions: FloatArray) -> Poses:
        """Where the hand is, shapes (3,) and (3, 3).

        Args:
            positions: Of all joints of the robot, shape (J,) [rad].
        """
        placed, _ = self._placed(positions[self.joints])
        return placed

    def velocity(self, positions: FloatArray, velocities: FloatArray) -> FloatArray:
        """Velocity of the hand along the axes of the base, linear [m/s] and angular [rad/s].

        Args:
            positions: Of all joints of the robot, shape (J,) [rad].
            velocities: Shape (J,) [rad/s].

        Returns:
            Shape (6,).
        """
        return self._forward(positions[self.joints])[2] @ velocities[self.joints]

    def follow(
        self, poses: Poses, measured: FloatArray, dt_s: float, *, turned: bool = True
    ) -> FloatArray:
        """Bring the hand along poses, each from the joint positions of the one before.

        Args:
            poses: Shapes (T, 3) and (T, 3, 3), in the base frame.
            measured: Where the joints of the robot are, shape (J,) [rad].
            dt_s: Time between poses [s].
            turned: Whether a rotation that is not met is a fault.

        Returns:
            Positions of `joints`, shape (T, n) [rad].

        Raises:
            OutOfReachError: If a pose is out of reach by more than the hand's tolerances.
        """
        joints = measured[self.joints]
        # An arm that is outside of its limits already may stay there; the supervisor has them.
        lower, upper = np.minimum(self._lower, joints), np.maximum(self._upper, joints)
        rows: list[FloatArray] = []
        for row, (position, rotation) in enumerate(
            zip(poses.positions, poses.rotations, strict=True)
        ):
            begin = self._relaxed(joints, dt_s)
            found = reach(self._forward, Poses(position, rotation), begin, lower, upper)
            self._check(found, row, position, turned=turned)
            joints = found.joints
            rows.append(joints)
        return np.array(rows).reshape(-1, len(self.joints))

    def progress(self, rows: FloatArray) -> FloatArray | None:
        """How far along its rows a motion is to be, for singularities not to be rushed into.

        Args:
            rows: Where the joints of the robot are and T rows, shape (T + 1, J) [rad].

        Returns:
            See `core.singularity.progress`; None if the robot file says nothing of it.
        """
        limits = self._hand.limits
        bounds = None if limits is None else limits.singularity
        if bounds is None:
            return None
        conditions = [condition(self._forward(row[self.joints])[2]) for row in rows]
        return progress(np.array(conditions), bounds.slow, bounds.stop)

    def _relaxed(self, joints: FloatArray, dt_s: float) -> FloatArray:
        if len(joints) <= _FULL:
            return joints
        pull = (self._home - joints) * -math.expm1(-dt_s / _PULL_TIME_S)
        most = _PULL_SHARE_OF_VELOCITY * self._velocity * dt_s
        return pulled(self._forward, joints, np.clip(pull, -most, most))

    def _check(self, found: Reached, row: int, position: FloatArray, *, turned: bool) -> None:
        hand = self._hand
        far = found.position_error > hand.position_tolerance
        if not far and (not turned or found.rotation_error <= hand.rotation_tolerance):
            return
        where = ", ".join(f"{value:.3f}" for value in position)
        raise OutOfReachError(
            f"pose of row {row} at ({where}) m is out of reach: {hand.frame} would miss it by "
            f"{found.position_error:.2g} m and {found.rotation_error:.2g} rad (allowed: "
            f"{hand.position_tolerance:g} m, {hand.rotation_tolerance:g} rad)"
        )

    def _placed(self, joints: FloatArray) -> tuple[Poses, FloatArray]:
        """The hand's pose in the base, and the rotation of the base, which stands still."""
        self._pin.framesForwardKinematics(self._model, self._data, joints)
        placement = self._data.oMf[self._frame]
        origin, axes = self._base
        position = axes.T @ (placement.translation - origin)
        return Poses(position, axes.T @ placement.rotation), axes

    def _forward(self, joints: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        jacobian = self._pin.computeFrameJacobian(
            self._model, self._data, joints, self._frame, self._pin.LOCAL_WORLD_ALIGNED
        )
        placement = self._data.oMf[self._frame]
        origin, axes = self._base
        position = axes.T @ (placement.translation - origin)
        along = np.vstack([axes.T @ jacobian[:3], axes.T @ jacobian[3:]])
        return position, axes.T @ placement.rotation, along

    def _standing(self, base: str) -> tuple[FloatArray, FloatArray]:
        """Origin and axes of the base in the URDF's root."""
        neutral = self._pin.neutral(self._model)
        self._pin.framesForwardKinematics(self._model, self._data, neutral)
        placement = self._data.oMf[self._model.getFrameId(base)]
        return placement.translation.copy(), placement.rotation.copy()

    def _reduced(self, robot: Robot, names: tuple[str, ...]) -> Any:
        """The URDF with every joint fixed that does not move the hand."""
        pin = self._pin
        path = find_urdf(robot)
        try:
            model = pin.buildModelFromXML(path.read_text())
        except (ValueError, RuntimeError) as error:
            detail = " ".join(str(error).split())[:200]
            raise ConfigError(str(path), "", f"pinocchio cannot read it ({detail})") from error
        fixed = [i for i, name in enumerate(model.names) if i > 0 and name not in names]
        return pin.buildReducedModel(model, fixed, pin.neutral(model))


def _pinocchio() -> Any:
    try:
        return importlib.import_module("pinocchio")
    except ImportError as error:
        raise SystemDependencyError(
            "Cartesian policies need the package pinocchio. Install it: "
            "pip install 'levine_policy_node[cartesian]' (or: pip install pin)"
        ) from error

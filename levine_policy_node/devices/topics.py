# SPDX-License-Identifier: Apache-2.0
"""Anything that says over ROS how the hand is to move: VR controllers, browsers, other programs.

`operator/twist` is how fast (geometry_msgs/TwistStamped, axes of the hand's base, never faster
than the node's speeds), `operator/pose` is where a tracked controller is
(geometry_msgs/PoseStamped): the hand moves as it does, from wherever both are when the dead-man is
pressed. `operator/dead_man` (std_msgs/Bool) is to be repeated, held or not. `operator/gripper`
(std_msgs/Float64) is how fast the gripper is to open, as a share of its fastest.

Options:
    silent_s: How long the dead-man may be silent.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from std_msgs.msg import Float64

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.core.rotations import to_matrices
from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.devices.dead_man_topic import SILENT_S, DeadManTopic
from levine_policy_node.devices.device import (
    DeviceContext,
    HandMotion,
    HandRates,
    Motion,
    Reading,
    Speeds,
)
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import steady_now

_GRIPPER_AGE_NS = nanoseconds(0.1)


class Topics:
    """The newest twist or pose, whichever came last.

    Attributes:
        name: Of the source tag.
    """

    name = "topics"

    def __init__(self, context: DeviceContext) -> None:
        silent_s = float(context.settings(silent_s=SILENT_S)["silent_s"])
        node, self._speeds = context.node, context.speeds
        self._dead_man = DeadManTopic(node, "operator/dead_man", silent_s)
        self._said: tuple[SteadyNs, HandRates | HandMotion] | None = None
        self._gripper: tuple[int, float] = (0, 0.0)
        node.create_subscription(TwistStamped, "operator/twist", self._on_twist, qos.COMMAND)
        node.create_subscription(PoseStamped, "operator/pose", self._on_pose, qos.COMMAND)
        node.create_subscription(Float64, "operator/gripper", self._on_gripper, qos.COMMAND)

    def read(self, now_ns: SteadyNs) -> Reading | None:
        """The newest twist or pose."""
        if self._said is None:
            return None
        said_ns, motion = self._said
        heard_ns, gripper = self._gripper
        if now_ns - heard_ns > _GRIPPER_AGE_NS:
            gripper = 0.0
        return Reading(said_ns, self._dead_man.held(now_ns), _with_gripper(motion, gripper))

    def close(self) -> None:
        """The subscriptions go with the node."""

    def _on_twist(self, message: TwistStamped) -> None:
        linear, angular = message.twist.linear, message.twist.angular
        twist = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
        if np.all(np.isfinite(twist)):
            self._said = (steady_now(), HandRates(bounded(twist, self._speeds)))

    def _on_pose(self, message: PoseStamped) -> None:
        place, turn = message.pose.position, message.pose.orientation
        position = np.array([place.x, place.y, place.z])
        quaternion = np.array([turn.x, turn.y, turn.z, turn.w])
        length = float(np.linalg.norm(quaternion))
        # A quaternion of zeros is what a sender leaves that has no rotation to tell.
        if np.all(np.isfinite(position)) and 0.5 < length < 2.0:
            rotation = to_matrices(quaternion / length, "quaternion_xyzw")
            self._said = (steady_now(), HandMotion(Poses(position, rotation)))

    def _on_gripper(self, message: Float64) -> None:
        if np.isfinite(message.data):
            self._gripper = (int(steady_now()), float(np.clip(message.data, -1.0, 1.0)))


def bounded(twist: np.ndarray, speeds: Speeds) -> np.ndarray:
    """A twist (6,) in its own direction, no faster than the speeds."""
    linear, angular = np.linalg.norm(twist[:3]), np.linalg.norm(twist[3:])
    share = max(1.0, linear / speeds.linear, angular / speeds.angular)
    return twist / share


def _with_gripper(motion: HandRates | HandMotion, gripper: float) -> Motion:
    if isinstance(motion, HandRates):
        return HandRates(motion.twist, gripper)
    return HandMotion(motion.pose, gripper)


def make(context: DeviceContext) -> Topics:
    """Make the device."""
    return Topics(context)

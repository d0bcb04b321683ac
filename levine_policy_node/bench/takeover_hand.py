# SPDX-License-Identifier: Apache-2.0
"""The hand of a person at a real operator process: what it says, over DDS, 50 times a second."""

from __future__ import annotations

import threading
from typing import Any, Literal

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now

Kind = Literal["leader", "twist", "pose"]
DEVICE_OF: dict[Kind, str] = {"leader": "leader", "twist": "topics", "pose": "topics"}

_PERIOD_S = 0.02
_SWING_RAD, _SWING_M = 0.15, 0.02


class Hand:
    """Publishes in a thread of its own, so that whoever measures may wait.

    Attributes:
        held: Whether the dead-man is pressed.
        pressed_ns: When the press was first said [ns, ROS clock].
    """

    def __init__(self, node: Node, device: str, joint_names: tuple[str, ...]) -> None:
        self._node, self._names = node, list(joint_names)
        topic = "leader/dead_man" if device == "leader" else "operator/dead_man"
        self._dead_man = node.create_publisher(Bool, topic, qos.COMMAND)
        joints = "leader/joint_states"
        self._joints = node.create_publisher(JointState, joints, qos.JOINT_STATE_OUT)
        self._twist = node.create_publisher(TwistStamped, "operator/twist", qos.COMMAND)
        self._pose = node.create_publisher(PoseStamped, "operator/pose", qos.COMMAND)
        self.held = False
        self.pressed_ns = 0
        self._kind: Kind = "leader"
        self._begin = np.zeros(len(joint_names))
        self._swing = np.zeros(6)
        self._looks = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="hand")
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def ready(self) -> bool:
        """Whether the operator's process listens."""
        return self._dead_man.get_subscription_count() >= 1

    def press(self, kind: Kind, begin: np.ndarray, rng: np.random.Generator) -> None:
        """Press, with the leader's joints at `begin` (J,) [rad]."""
        self._kind, self._begin, self._looks = kind, begin, 0
        self._swing = rng.uniform(-1.0, 1.0, max(6, len(begin)))
        self.pressed_ns = 0
        self.held = True

    def _loop(self) -> None:
        while not self._ended.wait(_PERIOD_S):
            held = self.held
            if held:
                self._say()
                if not self.pressed_ns:
                    self.pressed_ns = int(ros_now(self._node))
            self._dead_man.publish(Bool(data=held))

    def _say(self) -> None:
        self._looks += 1
        share = float(np.sin(2.0 * self._looks * _PERIOD_S))
        message: Any
        if self._kind == "leader":
            position = self._begin + _SWING_RAD * share * self._swing[: len(self._begin)]
            self._joints.publish(JointState(name=self._names, position=position.tolist()))
        elif self._kind == "twist":
            message = TwistStamped()
            linear = message.twist.linear
            linear.x, linear.y, linear.z = (0.1 * share * self._swing[:3]).tolist()
            self._twist.publish(message)
        else:
            message = PoseStamped()
            place = message.pose.position
            place.x, place.y, place.z = (_SWING_M * share * self._swing[:3]).tolist()
            message.pose.orientation.w = 1.0
            self._pose.publish(message)

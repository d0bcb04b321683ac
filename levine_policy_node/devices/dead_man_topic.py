# SPDX-License-Identifier: Apache-2.0
"""A dead-man that is a topic: true, and repeated, while it is held."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Bool

from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import steady_now

_SILENT_NS = nanoseconds(0.08)


class DeadManTopic:
    """Whether the newest message says yes and is fresh."""

    def __init__(self, node: Node, topic: str) -> None:
        self._said: tuple[bool, SteadyNs] = (False, SteadyNs(0))
        node.create_subscription(Bool, topic, self._on_message, qos.COMMAND)

    def held(self, now_ns: SteadyNs) -> bool:
        """Whether it is held; one that falls silent is not."""
        pressed, heard_ns = self._said
        return pressed and now_ns - heard_ns <= _SILENT_NS

    def _on_message(self, message: Bool) -> None:
        self._said = (bool(message.data), steady_now())

# SPDX-License-Identifier: Apache-2.0
"""A dead-man that is a topic: true, and repeated, while it is held, and false while it is not."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Bool

from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import steady_now

SILENT_S = 0.08
"""How long it may be silent, unless the user allows more [s]."""


class DeadManTopic:
    """Whether it is held, since it was last heard to be let go.

    One that falls silent counts as let go, and must then say so before it is held again: a network
    that comes back presses nothing.
    """

    def __init__(self, node: Node, topic: str, silent_s: float) -> None:
        self._silent_ns = nanoseconds(silent_s)
        self._heard_ns = SteadyNs(0)
        self._released, self._pressed = False, False
        node.create_subscription(Bool, topic, self._on_message, qos.COMMAND)

    def held(self, now_ns: SteadyNs) -> bool:
        """Whether it is held now."""
        if now_ns - self._heard_ns > self._silent_ns:
            self._released = self._pressed = False
        return self._pressed

    def _on_message(self, message: Bool) -> None:
        self._heard_ns = steady_now()
        self._released = self._released or not message.data
        self._pressed = self._released and bool(message.data)

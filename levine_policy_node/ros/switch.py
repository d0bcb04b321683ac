# SPDX-License-Identifier: Apache-2.0
"""Hear a switch, also where it has stood since before this process was there.

A volatile reader hears every writer, but only from now on: a button that was pressed before, and
said so once for whoever comes later, would be missed. Only a transient-local reader is told; and a
volatile writer is warned that this one does not hear it, though the other does. So there is one
only where it is needed.
"""

from __future__ import annotations

from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from std_msgs.msg import Bool

from levine_policy_node.ros import qos


class Switch:
    """One topic of std_msgs/Bool, for a node that is spun in one thread."""

    def __init__(self, node: Node, topic: str, callback: Any) -> None:
        """Subscribe.

        Args:
            node: Which hears.
            topic: Its name.
            callback: As `create_subscription` takes it; may be told the same twice.
        """
        self._node, self._topic, self._callback = node, topic, callback
        node.create_subscription(Bool, topic, callback, qos.SWITCH)
        self._asked = False

    def ask(self) -> None:
        """Have those that keep what they said say it again, if there are any; asks the graph."""
        if self._asked:
            return
        topic = self._node.resolve_topic_name(self._topic)
        writers = self._node.get_publishers_info_by_topic(topic)
        kept = DurabilityPolicy.TRANSIENT_LOCAL
        if any(writer.qos_profile.durability == kept for writer in writers):
            self._asked = True
            # Whom this one does not hear, the other does.
            quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
            self._node.create_subscription(
                Bool, topic, self._callback, qos.SWITCH_KEPT, event_callbacks=quiet
            )

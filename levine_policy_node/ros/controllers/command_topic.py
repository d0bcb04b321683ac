# SPDX-License-Identifier: Apache-2.0
"""The topic a controller takes its commands from."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from levine_policy_node.ros import qos


class CommandTopic:
    """What the adapters of all controllers have in common.

    Attributes:
        topic: Its resolved name.
    """

    def __init__(self, node: Node, kind: type[Any], topic: str) -> None:
        """Create the publisher of messages of `kind` on `topic`."""
        self._node = node
        self._publisher: Any = node.create_publisher(kind, topic, qos.COMMAND)
        self.topic: str = self._publisher.topic_name

    def listeners(self) -> int:
        """How many subscriptions hear it."""
        return int(self._publisher.get_subscription_count())

    def publishers(self) -> int:
        """How many publishers the topic has, this one included."""
        return self._node.count_publishers(self.topic)

# SPDX-License-Identifier: Apache-2.0
"""Commands for a forward_command_controller with a position interface.

It holds the last position when messages stop. With a velocity or effort interface it would go on
for ever, so this adapter offers neither.
"""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from levine_policy_node.core.units import FloatArray
from levine_policy_node.ros import qos


class ForwardCommandOutput:
    """Sends positions to `<controller>/commands`, in the joint order of the robot file."""

    sends_windows = False

    def __init__(self, node: Node, controller: str) -> None:
        self._node = node
        self._publisher = node.create_publisher(
            Float64MultiArray, f"{controller}/commands", qos.COMMAND
        )
        self.topic: str = self._publisher.topic_name

    def send_position(self, position: FloatArray) -> None:
        """Publish one position (J,) [rad]."""
        self._publisher.publish(Float64MultiArray(data=position.tolist()))

    def publishers(self) -> int:
        """How many publishers the command topic has, this one included."""
        return self._node.count_publishers(self.topic)

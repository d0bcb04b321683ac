# SPDX-License-Identifier: Apache-2.0
"""Commands for a forward_command_controller.

With a position interface it holds the last position when messages stop. With an effort interface
it goes on pushing for ever, so a robot file may name one only with a command timeout of the
robot's own, and none with a velocity interface. A message of another size than the controller has
joints makes the controller manager deactivate it (Jazzy and later), so none is sent.
"""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from levine_policy_node.core.units import FloatArray
from levine_policy_node.ros.controllers.command_topic import CommandTopic


class ForwardCommandOutput(CommandTopic):
    """Sends positions to `<controller>/commands`, in the joint order of the robot file."""

    sends_windows = False

    def __init__(self, node: Node, controller: str) -> None:
        """Create the publisher for the controller of this name."""
        super().__init__(node, Float64MultiArray, f"{controller}/commands")

    def send_position(self, position: FloatArray) -> None:
        """Publish one position (J,) [rad]."""
        self._publisher.publish(Float64MultiArray(data=position.tolist()))


class ForwardEffortOutput(CommandTopic):
    """Sends efforts to `<controller>/commands`, in the joint order of the robot file."""

    sends_windows = False

    def __init__(self, node: Node, controller: str) -> None:
        """Create the publisher for the controller of this name."""
        super().__init__(node, Float64MultiArray, f"{controller}/commands")

    def send_efforts(self, efforts: FloatArray) -> None:
        """Publish the efforts of all joints (J,) [N m]."""
        self._publisher.publish(Float64MultiArray(data=efforts.tolist()))

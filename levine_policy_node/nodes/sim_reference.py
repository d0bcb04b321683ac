# SPDX-License-Identifier: Apache-2.0
"""What the simulated controller says it commands."""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import JointState

from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.robot import Robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.messages import joint_state_to_msg
from levine_policy_node.sim.joint_trajectory_controller import JointTrajectoryController
from levine_policy_node.sim.plant import Controller

# The stock `state_publish_rate`, 50 Hz; a little less, or cycles that are not on its grid would
# make it every third.
_PERIOD_NS = nanoseconds(0.0175)


class ReferencePublisher:
    """`<controller>/reference`, as sensor_msgs/JointState.

    The stock controller says the same in control_msgs/JointTrajectoryControllerState, which is not
    on PyPI; forward_command_controller says nothing.
    """

    def __init__(self, node: Node, robot: Robot, controller: Controller) -> None:
        """Create the publisher."""
        self._names = robot.joint_names
        self._controller = controller
        topic = f"{robot.controller.name}/reference"
        self._publisher = node.create_publisher(JointState, topic, qos.JOINT_STATE_OUT)
        self._told_ns: StampNs | None = None

    def publish(self, now_ns: StampNs) -> None:
        """Say what the cycle of `now_ns` commanded, if it is time to."""
        controller = self._controller
        if not isinstance(controller, JointTrajectoryController) or controller.reference is None:
            return
        # A clock that was set back must not silence it.
        if self._told_ns is not None and 0 <= now_ns - self._told_ns < _PERIOD_NS:
            return
        self._told_ns = now_ns
        self._publisher.publish(joint_state_to_msg(self._names, controller.reference, now_ns))

# SPDX-License-Identifier: Apache-2.0
"""Commands for a joint_trajectory_controller.

Each message is a window: motion for a moment, then a brake to rest, so the controller brings the
arm to rest by itself if no more messages come. `header.stamp` is the time of the first knot, a
little in the past when the controller reads it; it then samples the knots and never interpolates
from the measured position, which would be a step. The stretch that the controller may already be
executing is repeated unchanged, so one window continues the other.
"""

from __future__ import annotations

from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.ros import qos


class JointTrajectoryOutput:
    """Sends windows to `<controller>/joint_trajectory`."""

    sends_windows = True

    def __init__(self, node: Node, controller: str) -> None:
        self._node = node
        self._publisher = node.create_publisher(
            JointTrajectory, f"{controller}/joint_trajectory", qos.COMMAND
        )
        self.topic: str = self._publisher.topic_name

    def send_window(self, window: Timeline[SteadyNs], offset_ns: int, source: str) -> None:
        """Publish a window that is given on the steady clock.

        Args:
            window: Ends at rest.
            offset_ns: ROS clock minus steady clock; the same for all windows of one motion, or
                they would not continue each other.
            source: Source tag of the motion.
        """
        stamped = Timeline(
            window.joint_names,
            StampNs(int(window.start_ns) + offset_ns),
            window.times_s,
            window.positions,
            window.velocities,
            window.accelerations,
            source,
        )
        self._publisher.publish(trajectory_bytes(stamped))

    def publishers(self) -> int:
        """How many publishers the command topic has, this one included."""
        return self._node.count_publishers(self.topic)

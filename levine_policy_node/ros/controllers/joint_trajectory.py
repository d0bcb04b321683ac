# SPDX-License-Identifier: Apache-2.0
"""Commands for a joint_trajectory_controller.

Each message is a window: motion for a moment, then a brake to rest, so the controller brings the
arm to rest by itself if no more messages come. `header.stamp` is the time of the first knot, a
little in the past when the controller reads it; it then samples the knots and never interpolates
from the measured position, which would be a step. The stretch that the controller may already be
executing is repeated unchanged, so one window continues the other.

That holds for Humble, Jazzy and Kilted as they are. From ros2_controllers 6.9 on (Lyrical,
Rolling) the controller's parameter `allow_trajectory_replacement` must be false: with it a stamp
in the past counts as "now", and every window would be played late, with a jump where it begins.
"""

from __future__ import annotations

from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.reference import to_ros
from levine_policy_node.core.supervision import Rest
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import rest_bytes, trajectory_bytes
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.ros.controllers.command_topic import CommandTopic


class JointTrajectoryOutput(CommandTopic):
    """Sends windows to `<controller>/joint_trajectory`."""

    sends_windows = True

    def __init__(self, node: Node, controller: str) -> None:
        """Create the publisher for the controller of this name."""
        super().__init__(node, JointTrajectory, f"{controller}/joint_trajectory")

    def send_window(self, window: Timeline[SteadyNs], offset_ns: int, source: str) -> None:
        """Publish a window that is given on the steady clock.

        Args:
            window: Ends at rest.
            offset_ns: See `to_ros`, as the next one.
            source: Source tag of the motion.
        """
        self._publisher.publish(trajectory_bytes(to_ros(window, offset_ns, source)))

    def send_rest(self, rest: Rest, joint_names: tuple[str, ...], source: str) -> None:
        """Publish what brings the arm to rest whatever the controller's clock says."""
        self._publisher.publish(rest_bytes(joint_names, rest, source))

# SPDX-License-Identifier: Apache-2.0
"""The runtime with a simulated SO-101 and the policy that ships.

ros2 launch levine_policy_node demo.launch.py
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction

from levine_policy_node.launch_actions import graph_actions

ARGUMENTS = {
    "robot": ("sim_so101", "robot file: a shipped name or a path"),
    "policy": ("so101_pick_place", "policy bundle: a shipped name or a path"),
    "namespace": ("", "ROS namespace of every node"),
    "recorder": ("true", "record episodes"),
    "recordings": ("recordings", "directory for episodes"),
    "log_level": ("info", "log level of every node"),
    "seed": ("0", "scene of the simulation"),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the graph of `levine_policy_node.graph`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription(
        [*declared, OpaqueFunction(function=graph_actions, kwargs={"simulate": True})]
    )

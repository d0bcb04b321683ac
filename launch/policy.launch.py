# SPDX-License-Identifier: Apache-2.0
"""The runtime for one robot and one policy.

ros2 launch levine_policy_node policy.launch.py robot:=so101 policy:=<bundle>
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction

from levine_policy_node.launch_actions import graph_actions

ARGUMENTS = {
    "robot": (None, "robot file: a shipped name or a path"),
    "policy": ("", "policy bundle: a shipped name or a path"),
    "only": ("", "start these processes here, others run on another host; between spaces"),
    "namespace": ("", "ROS namespace of every node"),
    "recorder": ("true", "record episodes"),
    "recordings": ("recordings", "directory for episodes"),
    "trust": ("checksums", "what must vouch for the bundle: off, checksums or signature"),
    "trust_key": ("", "public key of who signs bundles, for trust:=signature"),
    "remote_hosts": ("", "hosts that may serve a policy, separated by commas"),
    "operator": ("", "device with which a person takes over: leader, spacemouse, gamepad, topics"),
    "log_level": ("info", "log level of every node"),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the graph of `levine_policy_node.graph`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        if default is not None
        else DeclareLaunchArgument(name, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription(
        [*declared, OpaqueFunction(function=graph_actions, kwargs={"simulate": False})]
    )

# SPDX-License-Identifier: Apache-2.0
"""What in the graph forbids arming: someone who is not heard, or a second robot.

DDS connects a writer and a reader only if the writer offers what the reader asks for. Otherwise
both go on in silence: an emergency stop that is published best-effort is never heard reliably. And
it connects whoever has the same domain and namespace: two robots would both follow one command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rclpy.duration import Infinite
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo

from levine_policy_node.ros import qos
from levine_policy_node.ros.controllers.command_topic import CommandTopic

_ERROR = "ERROR: "
_UNKNOWN = "_NODE_NAME_UNKNOWN_"


# What the supervisor offers, as the graph tells of it: never is a duration there, too.
_OFFERED = QoSProfile(
    depth=qos.COMMAND.depth,
    reliability=qos.COMMAND.reliability,
    durability=qos.COMMAND.durability,
    deadline=Infinite,
    liveliness_lease_duration=Infinite,
)


def graph_problem(node: Node, commands: CommandTopic, states: str) -> str:
    """Say what forbids arming, or "".

    Args:
        node: Every topic that it subscribes to is looked at.
        commands: Where it commands.
        states: Topic of the joint states.
    """
    listeners = node.get_subscriptions_info_by_topic(commands.topic)
    # Whoever only watches may miss them; the controller may not.
    return (
        _unheard(node)
        or ("" if commands.listeners() > 0 else _deaf(commands.topic, listeners))
        or _twins(commands.topic, "listen", listeners)
        or _twins(states, "publish", node.get_publishers_info_by_topic(states))
    )


def _unheard(node: Node) -> str:
    """Say whom a node subscribes to in vain, or ""."""
    readers: dict[str, list[QoSProfile]] = {}
    for subscription in node.subscriptions:
        readers.setdefault(subscription.topic_name, []).append(subscription.qos_profile)
    for topic, ours in readers.items():
        for writer in node.get_publishers_info_by_topic(topic):
            # One that hears it is enough.
            why = [_mismatch(writer.qos_profile, wanted) for wanted in ours]
            if all(why):
                return f"{topic}: nothing of what {writer.node_name} publishes is heard: {why[0]}"
    return ""


def _deaf(topic: str, listeners: Sequence[TopicEndpointInfo]) -> str:
    """Say which listener misses the commands, or ""."""
    for reader in listeners:
        why = _mismatch(_OFFERED, reader.qos_profile)
        if why:
            return f"{topic}: {reader.node_name} cannot hear it: {why}"
    return ""


def _mismatch(offered: QoSProfile, wanted: QoSProfile) -> str:
    """Why DDS does not connect the two, in rclpy's words, or ""."""
    compatibility, reason = qos_check_compatible(offered, wanted)
    if compatibility != QoSCompatibility.ERROR:
        return ""
    return ", ".join(part.removeprefix(_ERROR) for part in reason.split(";") if part)


def _twins(topic: str, do: str, ends: Sequence[TopicEndpointInfo]) -> str:
    """Say that two nodes of one name are at a topic, as of two robots on one domain, or ""."""
    names = Counter(
        f"{end.node_namespace.rstrip('/')}/{end.node_name}"
        for end in ends
        if end.node_name != _UNKNOWN
    )
    for name, count in names.items():
        if count > 1:
            return (
                f"{count} nodes called {name} {do} on {topic}: another robot on this domain, or "
                "one that was killed within the last 20 s? Give each robot its own ROS_DOMAIN_ID "
                "or namespace"
            )
    return ""

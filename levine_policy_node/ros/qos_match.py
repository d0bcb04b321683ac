# SPDX-License-Identifier: Apache-2.0
"""Whom a node cannot hear, or who cannot hear it, because their quality of service differs.

DDS connects a writer and a reader only if the writer offers what the reader asks for. Otherwise
both go on in silence: an emergency stop that is published best-effort is never heard reliably.
"""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

_ERROR = "ERROR: "


def unheard(node: Node, commands: str) -> str:
    """Say whom a node subscribes to in vain, or who misses its commands; "" if nobody.

    Args:
        node: Every topic that it subscribes to is looked at.
        commands: Topic of its commands; looked at while nobody hears them.
    """
    for subscription in node.subscriptions:
        topic, ours = subscription.topic_name, subscription.qos_profile
        for writer in node.get_publishers_info_by_topic(topic):
            why = _mismatch(writer.qos_profile, ours)
            if why:
                return f"{topic}: nothing of what {writer.node_name} publishes is heard: {why}"
    for publisher in node.publishers:
        if publisher.topic_name != commands or publisher.get_subscription_count() > 0:
            continue
        for reader in node.get_subscriptions_info_by_topic(commands):
            why = _mismatch(publisher.qos_profile, reader.qos_profile)
            if why:
                return f"{commands}: {reader.node_name} cannot hear it: {why}"
    return ""


def _mismatch(offered: QoSProfile, wanted: QoSProfile) -> str:
    """Why DDS does not connect the two, in rclpy's words, or ""."""
    compatibility, reason = qos_check_compatible(offered, wanted)
    if compatibility != QoSCompatibility.ERROR:
        return ""
    return ", ".join(part.removeprefix(_ERROR) for part in reason.split(";") if part)

# SPDX-License-Identifier: Apache-2.0
"""A node's figures as one message on `/diagnostics`."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from levine_policy_node.ros.clocks import ros_now, stamp_to_msg


def diagnostics_to_msg(
    node: Node,
    values: Mapping[str, str | float],
    problem: str = "",
    *,
    summary: str = "ok",
    hardware_id: str = "",
) -> DiagnosticArray:
    """Build the message; `problem` makes it a warning with that text in place of `summary`."""
    status = DiagnosticStatus(
        level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
        name=node.get_name(),
        message=problem or summary,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp_to_msg(ros_now(node))
    return message


def diagnostics_from_msg(message: DiagnosticArray) -> dict[str, dict[str, str]]:
    """Figures by the name of the node, without its namespace."""
    return {
        status.name.rsplit("/", 1)[-1]: {v.key: v.value for v in status.values}
        for status in message.status
    }


def _text(value: str | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)

# SPDX-License-Identifier: Apache-2.0
"""Says on `policy/swap` and in the log what becomes of a request for another policy."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import dataclass, field

from rclpy.node import Node
from std_msgs.msg import String

from levine_policy_node.core.swap import Ending
from levine_policy_node.ros import qos
from levine_policy_node.runtime.bundle import Bundle


@dataclass(slots=True)
class SwapRequest:
    """One request, and what is known of it.

    Attributes:
        name: What was asked for, as the parameter named it.
        verified: The bundle, once it is verified.
        source: Source tag without epoch, once it is loaded.
        figures: What was measured.
    """

    name: str
    verified: Future[Bundle]
    source: str = ""
    figures: dict[str, float] = field(default_factory=dict)


class SwapNews:
    """The topic; the last steps stay for whoever comes later."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(String, "policy/swap", qos.OUTCOMES)

    def tell(
        self, number: int, request: SwapRequest, state: str, reason: str = "", *, log: bool = True
    ) -> None:
        """Publish where a request is, and log it."""
        values = {
            "request": number,
            "policy": request.name,
            "source": request.source,
            "state": state,
            "reason": reason,
            **request.figures,
        }
        self._publisher.publish(String(data=json.dumps(values)))
        if not log:
            return
        text = f"swap {number}, {request.name}: {state}" + (f", {reason}" if reason else "")
        if state == Ending.REFUSED.value:
            self._node.get_logger().warning(f"{text}; the policy before it stays")
        else:
            self._node.get_logger().info(text)

    def close(self) -> None:
        """Leave the topic."""
        self._node.destroy_publisher(self._publisher)

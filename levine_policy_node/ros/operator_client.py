# SPDX-License-Identifier: Apache-2.0
"""What every program that plays the operator needs: a node of its own, and the mode."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.context import Context
from rclpy.node import Node
from std_msgs.msg import String

from levine_policy_node.ros import qos
from levine_policy_node.ros.security import in_one_line, require_security
from levine_policy_node.ros.spin import Spinner
from levine_policy_node.sros2 import OPERATOR, enclave_path

CALL_TIMEOUT_S = 5.0
LATCHED_MODES = frozenset({"PSTOP", "FAULT", "ESTOP"})


class OperatorClient:
    """A node in a context of its own, spun only while something is waited for.

    Attributes:
        node: For publishers, subscriptions and clients.
        mode: The supervisor's mode, "" before it was heard.
    """

    def __init__(self, name: str, namespace: str = "") -> None:
        require_security()
        self.context = Context()
        with in_one_line():
            self.context.init(args=["--ros-args", "--enclave", enclave_path(OPERATOR, namespace)])
            self.node = Node(name, namespace=namespace, context=self.context)
        # Whoever watches a graph on the robot's computer is not to be its busiest process.
        self._spinner = Spinner([self.node])
        self.mode = ""
        self.node.create_subscription(String, "supervisor/mode", self._on_mode, qos.MODE)

    def close(self) -> None:
        """Leave the graph."""
        self._spinner.close()
        self.node.destroy_node()
        self.context.try_shutdown()

    def spin_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Handle messages until `done()` or the time-out; returns `done()`."""
        deadline = time.monotonic() + timeout_s
        while not done():
            left_s = deadline - time.monotonic()
            if left_s <= 0.0:
                return False
            self._spinner.turn(left_s)
        return True

    def spin_for(self, duration_s: float) -> None:
        """Handle messages for a while."""
        self.spin_until(lambda: False, duration_s)

    def _on_mode(self, message: String) -> None:
        self.mode = message.data

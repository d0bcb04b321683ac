# SPDX-License-Identifier: Apache-2.0
"""Spin the nodes of a process at a fraction of the executor's cost.

rclpy's executor builds a wait set of every entity of every node for each message it hands over:
0.7 ms of a 2.5 GHz core, four times what taking the message costs. Five streams at 30 to 100 Hz
then take a third of a core in each process. Here messages are taken straight from their
subscriptions every few milliseconds, and the executor, which still runs timers, services, events
and guard conditions, is asked only now and then, or at once when `wake` is called.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rclpy.executors import (
    ExternalShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.node import Node

POLL_S = 0.004
"""Longest time a message waits [s]."""

REST_S = 0.02
"""Longest time a timer, service or event waits [s]."""

_MESSAGES_PER_POLL = 64
_HANDLERS_PER_REST = 64

_woken = threading.Event()


def wake() -> None:
    """Let the spinner of this process run what is ready now; callable from any thread."""
    _woken.set()


class Spinner:
    """Runs every callback of some nodes in the calling thread.

    Args:
        nodes: They must be in one context, and stay until `spin` has returned.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)
        self._rest = SingleThreadedExecutor()
        for node in self._nodes:
            self._rest.add_node(node)

    def spin(self, stop: threading.Event) -> None:
        """Run until `stop` is set; what a callback raises is raised here.

        Raises:
            ExternalShutdownException: If the context is shut down meanwhile.
        """
        rest_due_s = 0.0
        while not stop.is_set():
            if not self._nodes[0].context.ok():
                raise ExternalShutdownException
            woken = _woken.wait(POLL_S)
            _woken.clear()
            self._take_messages()
            # A callback that was just run may have called `wake`.
            if woken or _woken.is_set() or time.monotonic() >= rest_due_s:
                _woken.clear()
                self._run_rest()
                rest_due_s = time.monotonic() + REST_S

    def _take_messages(self) -> None:
        for node in self._nodes:
            for subscription in node.subscriptions:
                for _ in range(_MESSAGES_PER_POLL):
                    with subscription.handle:
                        taken = subscription.handle.take_message(
                            subscription.msg_type, subscription.raw
                        )
                    if taken is None:
                        break
                    # No callback of ours takes the MessageInfo, which rclpy's type allows.
                    subscription.callback(taken[0])  # pyright: ignore[reportCallIssue]

    def _run_rest(self) -> None:
        for _ in range(_HANDLERS_PER_REST):
            try:
                ready = self._rest.wait_for_ready_callbacks(timeout_sec=0)
            except TimeoutException:
                return
            handler = ready[0]
            handler()
            error = handler.exception()
            if error is not None:
                raise error

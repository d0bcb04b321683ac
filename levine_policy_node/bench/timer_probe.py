# SPDX-License-Identifier: Apache-2.0
"""The usual way, to compare with: an rclpy timer in the process that infers.

Runs the nodes of `policy_runtime` and one more in rclpy's own executor, as most projects do, and
writes the times at which the timer fired.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from levine_policy_node.nodes.policy_runtime import make_nodes
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.ros.scheduling import PROMPT, set_urgency, switch_threads_often


class TimerProbe(Node):
    """Notes when a timer of `rate_hz` fires.

    Attributes:
        times_ns: Steady times of the callbacks.
    """

    def __init__(self, rate_hz: float) -> None:
        super().__init__("timer_probe")
        self.times_ns: list[int] = []
        self.create_timer(1.0 / rate_hz, lambda: self.times_ns.append(steady_now()))


def main() -> int:
    """Run until a signal: `timer_probe RATE_HZ OUTPUT --ros-args ...`."""
    rate_hz, output = float(sys.argv[1]), Path(sys.argv[2])
    set_urgency(PROMPT)
    switch_threads_often()
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    probe = TimerProbe(rate_hz)
    nodes = (*make_nodes(), probe)
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    output.write_text(json.dumps(probe.times_ns))
    executor.shutdown()
    for node in nodes:
        close = getattr(node, "close", None)
        if close is not None:
            close()
        node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""The usual way, to compare with: an rclpy timer in the process that infers.

Runs the nodes of `policy_runtime` and one more in rclpy's own executor, as most projects do, and
writes the times at which the timer fired.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from levine_policy_node.nodes.policy_runtime import make_nodes
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.ros.entrypoint import run
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


def spin_as_usual(nodes: Sequence[Node], stop: threading.Event) -> None:
    """Spin with rclpy's own executor."""
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()


def main() -> int:
    """Run until a signal: `timer_probe RATE_HZ OUTPUT --ros-args ...`."""
    rate_hz, output = float(sys.argv[1]), Path(sys.argv[2])
    set_urgency(PROMPT)
    switch_threads_often()
    probes: list[TimerProbe] = []

    def factory() -> Sequence[Node]:
        probes.append(TimerProbe(rate_hz))
        return (*make_nodes(), *probes)

    code = run(factory, sys.argv, spin_as_usual)
    output.write_text(json.dumps([t for probe in probes for t in probe.times_ns]))
    return code


if __name__ == "__main__":
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""The thread that keeps simulated time equal to real time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs, nanoseconds, seconds
from levine_policy_node.ros.clocks import steady_now

_CATCH_UP_NS = nanoseconds(0.2)
_CLOCK_STEP_NS = nanoseconds(0.001)
_CLOCK_READ_NS = nanoseconds(0.0001)
_LATENESS_KEPT = 10_000


class ControlThread:
    """Calls `tick` once per period, at absolute deadlines on the steady clock.

    A simulation must not lose time, so after a delay the missed cycles are made up for; each gets
    the stamp of its own deadline. Only after more than 0.2 s (a suspended process) are cycles
    skipped, and counted.
    """

    def __init__(
        self, period_ns: int, tick: Callable[[StampNs], None], ros_clock: Callable[[], StampNs]
    ) -> None:
        """Prepare the thread.

        Args:
            period_ns: Control period [ns].
            tick: Called in the thread with the cycle's time on the ROS clock.
            ros_clock: Reads the ROS clock.
        """
        self._period_ns = period_ns
        self._tick = tick
        self._ros_clock = ros_clock
        self._offset_ns = ros_clock() - steady_now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="sim_control", daemon=True)
        self.failure: BaseException | None = None
        self.ticks = 0
        self.skipped = 0
        self.lateness_ms: deque[float] = deque(maxlen=_LATENESS_KEPT)

    def start(self) -> None:
        """Start ticking."""
        self._thread.start()

    def close(self) -> None:
        """Stop; safe to call twice and before `start`."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def lateness_percentiles(self) -> FloatArray:
        """How late cycles began, p50, p99 and largest, shape (3,) [ms]."""
        recent = list(self.lateness_ms) or [0.0]
        return np.percentile(recent, [50, 99, 100])

    def _main(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self.failure = error
            raise

    def _loop(self) -> None:
        deadline = steady_now()
        while not self._stop.is_set():
            wait_ns = deadline - steady_now()
            if wait_ns > 0 and self._stop.wait(seconds(wait_ns)):
                return
            late_ns = steady_now() - deadline
            if late_ns > _CATCH_UP_NS:
                missed = late_ns // self._period_ns
                self.skipped += missed
                deadline = SteadyNs(deadline + missed * self._period_ns)
            self.lateness_ms.append(late_ns / 1e6)
            self._tick(self._stamp(deadline))
            self.ticks += 1
            deadline = SteadyNs(deadline + self._period_ns)

    def _stamp(self, deadline: SteadyNs) -> StampNs:
        """ROS time of a deadline; even steps, unless the ROS clock itself is stepped."""
        before = steady_now()
        offset_ns = self._ros_clock() - before
        # A reading during which this thread was preempted says nothing about the clock.
        undisturbed = steady_now() - before < _CLOCK_READ_NS
        if undisturbed and abs(offset_ns - self._offset_ns) > _CLOCK_STEP_NS:
            self._offset_ns = offset_ns
        return StampNs(deadline + self._offset_ns)

# SPDX-License-Identifier: Apache-2.0
"""Fake time: a queue of what happens next, and clocks that can be stepped, skewed and stopped."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from levine_policy_node.core.units import StampNs, SteadyNs, nanoseconds

Action = Callable[[], None]


class Scheduler:
    """Runs actions in the order of their times on the fake steady clock.

    What happens at the same instant happens in an order drawn from the seed: real threads have
    none either.
    """

    def __init__(self, seed: str, start_ns: SteadyNs) -> None:
        self.now_ns = start_ns
        self.start_ns = start_ns
        self._rng = random.Random(f"{seed}/scheduler")
        self._queue: list[tuple[int, float, int, Action]] = []
        self._count = 0

    def at(self, time_ns: int, action: Action) -> None:
        """Run `action` at `time_ns`, or as the next thing if that has passed."""
        self._count += 1
        entry = (max(time_ns, int(self.now_ns)), self._rng.random(), self._count, action)
        heapq.heappush(self._queue, entry)

    def after(self, delay_s: float, action: Action) -> None:
        """Run `action` in `delay_s`."""
        self.at(int(self.now_ns) + nanoseconds(delay_s), action)

    def run_until(self, end_ns: SteadyNs) -> None:
        """Run everything that is due up to `end_ns`."""
        while self._queue and self._queue[0][0] <= end_ns:
            time_ns, _, _, action = heapq.heappop(self._queue)
            self.now_ns = SteadyNs(time_ns)
            action()
        self.now_ns = end_ns


class RosClock:
    """The ROS clock of one host: the steady clock plus an offset, until somebody sets it."""

    def __init__(self, scheduler: Scheduler, offset_ns: int) -> None:
        self._scheduler = scheduler
        self._offset_ns = offset_ns
        self._stopped_ns: int | None = None

    def now(self) -> StampNs:
        """Present time on this host's ROS clock."""
        if self._stopped_ns is not None:
            return StampNs(self._stopped_ns)
        return StampNs(int(self._scheduler.now_ns) + self._offset_ns)

    @property
    def offset_ns(self) -> int:
        """ROS clock minus steady clock, as a process that reads both sees it."""
        return int(self.now()) - int(self._scheduler.now_ns)

    def step(self, step_s: float) -> None:
        """Set the clock forward, or back if negative."""
        self._offset_ns += nanoseconds(step_s)

    def stop(self) -> None:
        """Let `/clock` fall silent."""
        self._stopped_ns = int(self.now())

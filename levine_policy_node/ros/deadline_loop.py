# SPDX-License-Identifier: Apache-2.0
"""A loop with absolute deadlines on the steady clock, in a plain thread.

An rclpy timer shares its thread with every callback, and lost 40 % of its ticks at 200 Hz next to
inference; this loop lost none. What is to be sent at a deadline is decided before it and for it,
so that the time a decision takes does not move the command; what arrives meanwhile is decided
with once more if there is time. After a stall the missed deadlines
are skipped and counted, never caught up in a burst.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from levine_policy_node.core.units import NS_PER_S, SteadyNs
from levine_policy_node.ros.clocks import steady_now

_KEPT = 6_000
_LONG_PERIODS = 3
# A decision takes 1 to 3 ms, and up to 6 where other threads of the process want to run, too.
_AHEAD_NS = 6_000_000
_AHEAD_SHARE = 0.8
# Of the time that a decision took: the second one is begun so long before the deadline.
_AGAIN_SHARE = 2
_AGAIN_NS = 1_000_000
# Half of the supervisor's lead: what was decided for longer ago reaches the controller too late.
_OUT_OF_DATE_NS = 25_000_000
_DECIDE_AGAIN = 2

I = TypeVar("I")  # noqa: E741
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class LoopReport:
    """How punctual the loop has been; lateness [ms] over the last `_KEPT` ticks."""

    ticks: int
    missed: int
    lateness_p50_ms: float
    lateness_p99_ms: float
    lateness_max_ms: float


class Cycle(Protocol[I, D]):
    """What a loop does once per period, in its thread."""

    def take(self) -> I:
        """Everything that arrived up to now."""
        ...

    def decide(self, taken: I, due_ns: SteadyNs) -> D:
        """Decide what to send at `due_ns`, which is now or a few milliseconds ahead.

        Called again with the same input and a later time if it comes too late to be sent.
        """
        ...

    def renew(self, taken: I) -> I | None:
        """What was taken and what has arrived since; None if that need not be decided with now."""
        ...

    def send(self, decided: D) -> None:
        """Send it; called at the deadline."""
        ...


class DeadlineLoop(Generic[I, D]):
    """Runs a cycle once per period until stopped."""

    def __init__(
        self, period_s: float, cycle: Cycle[I, D], on_failure: Callable[[], None]
    ) -> None:
        """Prepare the loop; `start` runs it.

        Args:
            period_s: Time between deadlines [s].
            cycle: Called in the loop's thread.
            on_failure: Called in the loop's thread when the cycle raised, which ends the loop;
                the exception is printed by `threading.excepthook`.
        """
        self._period_ns = round(period_s * NS_PER_S)
        self._ahead_ns = min(_AHEAD_NS, round(_AHEAD_SHARE * self._period_ns))
        self._cycle = cycle
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deadline_loop", daemon=True)
        self._lock = threading.Lock()
        self._ticks = 0
        self._missed = 0
        self._lateness_ns: deque[int] = deque(maxlen=_KEPT)

    def start(self) -> None:
        """Begin; the first deadline is one period away."""
        self._thread.start()

    def stop(self) -> None:
        """End after the tick in progress; safe to call twice, and before `start`."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the loop is running."""
        return self._thread.is_alive()

    def report(self) -> LoopReport:
        """Figures since the start; lateness over the most recent ticks."""
        with self._lock:
            ticks, missed, lateness = self._ticks, self._missed, list(self._lateness_ns)
        p50, p99, worst = percentiles_ms(lateness)
        return LoopReport(ticks, missed, p50, p99, worst)

    def _run(self) -> None:
        finished = False
        try:
            self._loop()
            finished = True
        finally:
            if not finished:
                self._on_failure()

    def _loop(self) -> None:
        deadline_ns = SteadyNs(steady_now() + self._period_ns)
        while self._wait_until(deadline_ns - self._ahead_ns):
            decided = self._decided(deadline_ns)
            if decided is None:
                return
            lateness_ns = steady_now() - deadline_ns
            self._cycle.send(decided[0])
            # Deadlines that passed meanwhile are missed; the grid stays where it is.
            skipped = max(0, (steady_now() - deadline_ns) // self._period_ns)
            with self._lock:
                self._ticks += 1
                self._missed += skipped
                self._lateness_ns.append(lateness_ns)
            deadline_ns = SteadyNs(deadline_ns + (1 + skipped) * self._period_ns)

    def _decided(self, deadline_ns: SteadyNs) -> tuple[D] | None:
        """What is to be sent, when it is time to; None if the loop is stopped instead."""
        taken = self._cycle.take()
        due_ns = SteadyNs(max(deadline_ns, steady_now()))
        attempts = 0
        while True:
            begin_ns = steady_now()
            decided = self._cycle.decide(taken, due_ns)
            took_ns = steady_now() - begin_ns
            if not self._wait_until(due_ns - _AGAIN_SHARE * took_ns - _AGAIN_NS):
                return None
            renewed = self._cycle.renew(taken) if steady_now() + took_ns < due_ns else None
            if renewed is not None:
                taken = renewed
                decided = self._cycle.decide(taken, due_ns)
            if not self._wait_until(due_ns):
                return None
            now_ns = steady_now()
            attempts += 1
            if now_ns - due_ns <= _OUT_OF_DATE_NS or attempts > _DECIDE_AGAIN:
                return (decided,)
            # The thread was held up: the controller has played on, so decide from the present.
            due_ns = now_ns

    def _wait_until(self, time_ns: int) -> bool:
        """Sleep until then; False if the loop is to stop."""
        while not self._stop.is_set():
            wait_ns = time_ns - steady_now()
            if wait_ns <= 0:
                return True
            # Event.wait sleeps on the monotonic clock and wakes at once on `stop`.
            self._stop.wait(wait_ns / NS_PER_S)
        return False


class GapStatistics:
    """Time between consecutive sends; pauses in between do not count."""

    def __init__(self, period_s: float) -> None:
        self._period_ns = round(period_s * NS_PER_S)
        self._last_ns: SteadyNs | None = None
        self._gaps_ns: deque[int] = deque(maxlen=_KEPT)
        self._max_ns = 0
        self._long = 0
        self._lock = threading.Lock()

    def sent(self, now_ns: SteadyNs) -> None:
        """Note that something was sent."""
        with self._lock:
            if self._last_ns is not None:
                gap_ns = now_ns - self._last_ns
                self._gaps_ns.append(gap_ns)
                self._max_ns = max(self._max_ns, gap_ns)
                self._long += gap_ns > _LONG_PERIODS * self._period_ns
            self._last_ns = now_ns

    def pause(self) -> None:
        """Note that nothing is sent on purpose; the next gap is not counted."""
        with self._lock:
            self._last_ns = None

    def max_ms(self) -> float:
        """Longest gap since the start [ms]."""
        with self._lock:
            return self._max_ns / 1e6

    def over_three_periods(self) -> int:
        """How many gaps since the start were longer than three periods."""
        with self._lock:
            return self._long

    def jitter_p99_ms(self) -> float:
        """99th percentile of a gap's distance from the period [ms]."""
        with self._lock:
            gaps = list(self._gaps_ns)
        return percentiles_ms(abs(gap - self._period_ns) for gap in gaps)[1]


def percentiles_ms(values_ns: Iterable[int]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum in [ms]; zeros if there are no values."""
    values = np.array(list(values_ns), dtype=np.float64)
    if len(values) == 0:
        return 0.0, 0.0, 0.0
    p50, p99 = (float(v) / 1e6 for v in np.percentile(values, (50, 99)))
    return p50, p99, float(values.max()) / 1e6

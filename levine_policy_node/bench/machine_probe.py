# SPDX-License-Identifier: Apache-2.0
"""Notices when the machine itself is held up, as virtual ones are by their neighbours.

A thread that only sleeps, in real time where that is permitted, wakes late when nothing on this
machine gets to run. What is measured meanwhile says nothing about the runtime.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from types import TracebackType

HELD_UP_S = 0.04
"""Two fifths of the shortest watchdog: a stop cannot come from less."""

_PERIOD_S = 0.005
_PRIORITY = 90
_KEPT = 10_000
_NOTED_S = 0.005


class MachineProbe:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._asleep_s = time.monotonic()
        self._late: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._thread = threading.Thread(target=self._watch, name="machine_probe", daemon=True)

    def __enter__(self) -> MachineProbe:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def late_s(self, since_s: float) -> float:
        """How long the machine was held up at most, since a time on the monotonic clock [s]."""
        # It may be overdue now; read before what is known, so that nothing falls between.
        overdue_s = time.monotonic() - self._asleep_s - _PERIOD_S
        known = [late for woken_s, late in list(self._late) if woken_s >= since_s]
        return max(*known, overdue_s, 0.0)

    def wait_calm(self, calm_s: float, patience_s: float) -> bool:
        """Wait until the machine has not been held up for `calm_s`.

        Returns:
            False if it was not to be had within `patience_s`.
        """
        deadline_s = time.monotonic() + patience_s
        while self.late_s(time.monotonic() - calm_s) > HELD_UP_S / 2.0:
            if time.monotonic() > deadline_s:
                return False
            self._stop.wait(_PERIOD_S)
        return True

    def _watch(self) -> None:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
        while True:
            begin_s = self._asleep_s = time.monotonic()
            if self._stop.wait(_PERIOD_S):
                return
            woken_s = time.monotonic()
            late_s = woken_s - begin_s - _PERIOD_S
            if late_s > _NOTED_S:
                self._late.append((woken_s, late_s))

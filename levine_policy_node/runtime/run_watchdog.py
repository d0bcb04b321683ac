# SPDX-License-Identifier: Apache-2.0
"""Stops a graph that runs too long, from a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class RunWatchdog:
    """Calls a stop function when the guarded block outlasts its time.

    One thread for the life of the object: a thread per run would cost more than a small policy.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._condition = threading.Condition()
        self._stop: Callable[[], None] | None = None
        self._deadline_s = 0.0
        self._idle = False
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="run_watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def guard(self, stop: Callable[[], None]) -> Generator[None]:
        """Call `stop` once if the block takes longer than the time-out."""
        self._arm(stop)
        try:
            yield
        finally:
            self._arm(None)

    def close(self) -> None:
        """End the thread; safe to call twice."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _arm(self, stop: Callable[[], None] | None) -> None:
        with self._condition:
            self._stop = stop
            self._deadline_s = time.monotonic() + self._timeout_s
            # A thread that waits for an earlier deadline finds the new one then: waking it for
            # every run would cost more than the run of a small policy.
            if self._idle:
                self._condition.notify()

    def _watch(self) -> None:
        with self._condition:
            while not self._closed:
                if self._stop is None:
                    self._idle = True
                    self._condition.wait()
                    self._idle = False
                    continue
                remaining_s = self._deadline_s - time.monotonic()
                if remaining_s > 0.0:
                    self._condition.wait(remaining_s)
                    continue
                self._stop()
                self._stop = None

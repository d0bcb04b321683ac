# SPDX-License-Identifier: Apache-2.0
"""When the executor tells the supervisor that it cannot go on, and that it can again.

What a frame itself shows (frozen, dark, stamps that went back, another size) is told at once. What
is merely missing or late is told once it has been so for two heartbeats: a joint state may arrive
a moment after the frame of its instant. What is wrong with the policy's answers is told where
nothing is wrong with what it sees.
"""

from __future__ import annotations

import threading

from levine_policy_node.core.alignment import Problem, StreamFault

_LATE = frozenset({Problem.MISSING, Problem.STALE, Problem.APART})
_PATIENCE_TICKS = 2


class ObservationNews:
    """Turns the outcome of each attempt to observe into what `policy/problem` says.

    Frames and heartbeats come in threads of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fault: StreamFault | None = None
        self._output: StreamFault | None = None
        self._ticks = 0
        self._told: tuple[str, Problem] | None = None
        self._silent = True

    def observed(self, fault: StreamFault | None) -> str | None:
        """Note an attempt.

        Args:
            fault: Why there was no observation; None if there was one.

        Returns:
            What is to be said now ("" for no problem), or None for nothing new.
        """
        with self._lock:
            self._fault = fault
            if fault is None:
                self._ticks = 0
                return self._news(self._output)
            return None if fault.problem in _LATE else self._news(fault)

    def answered(self, fault: StreamFault | None) -> str | None:
        """Note what is wrong with an answer, or None; returns what `observed` does."""
        with self._lock:
            self._output = fault
            return self._news(fault) if self._fault is None else None

    def tick(self) -> str | None:
        """Note a heartbeat, after an attempt; returns what `observed` does."""
        with self._lock:
            if self._fault is None or self._fault.problem not in _LATE:
                return None
            self._ticks += 1
            return self._news(self._fault) if self._ticks >= _PATIENCE_TICKS else None

    def _news(self, fault: StreamFault | None) -> str | None:
        kind = None if fault is None else (fault.stream, fault.problem)
        if kind == self._told and not self._silent:
            return None
        self._told, self._silent = kind, False
        return "" if fault is None else str(fault)

# SPDX-License-Identifier: Apache-2.0
"""Whether a topic carries far more messages than it should."""

from __future__ import annotations

from levine_policy_node.core.units import SteadyNs, nanoseconds, seconds

FLOOD_FACTOR = 3.0
"""So many times the agreed rate are a flood."""

# A burst of 50 ms at the largest rate passes: at four times the agreed rate a flood is told
# within 0.15 s, at ten times within 0.03 s.
_BURST_S = 0.05
_TOLD_NS = nanoseconds(0.5)


class MessageRate:
    """An allowance that grows with time and shrinks with messages (a token bucket).

    What piled up while the reader was held up came in that time, so it is no flood.

    Args:
        topic: What is counted.
        agreed_hz: Messages per second that are expected at most [Hz].
    """

    def __init__(self, topic: str, agreed_hz: float) -> None:
        self._topic = topic
        self._limit_hz = FLOOD_FACTOR * agreed_hz
        self._burst = max(1.0, self._limit_hz * _BURST_S)
        self._left = self._burst
        self._counted_ns: SteadyNs | None = None
        self._flooded_ns: SteadyNs | None = None

    def add(self, count: int, now_ns: SteadyNs) -> bool:
        """Count messages; whether they are within the allowance.

        Args:
            count: Messages that were sent since the last call, lost ones included.
            now_ns: Present time.
        """
        before_ns, self._counted_ns = self._counted_ns, now_ns
        elapsed_s = 0.0 if before_ns is None else max(0.0, seconds(now_ns - before_ns))
        self._left = min(self._left, self._burst) + elapsed_s * self._limit_hz - count
        if self._left >= 0.0:
            return True
        self._left, self._flooded_ns = 0.0, now_ns
        return False

    def flood(self, now_ns: SteadyNs) -> str:
        """Say that there are too many messages now, else return ""."""
        if self._flooded_ns is None or now_ns - self._flooded_ns > _TOLD_NS:
            return ""
        return f"{self._topic}: more than {self._limit_hz:g} messages per second"

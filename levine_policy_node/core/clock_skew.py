# SPDX-License-Identifier: Apache-2.0
"""How far the clock of another host is from this one's, by the stamps of what it sends.

A message is received after it was stamped, so the smallest difference of many comes nearest to
the distance of the clocks: a delay only ever adds. Their median would take a busy network for a
wrong clock.
"""

from __future__ import annotations

from collections import deque

from levine_policy_node.core.units import seconds

_KEPT = 64
_ENOUGH = 10


class ClockSkew:
    """Collects how much later each message of one sender was received than stamped.

    Args:
        sender: Topic or host, for the text.
        limit_s: Distance of the clocks that is too far [s].
    """

    def __init__(self, sender: str, limit_s: float) -> None:
        self._sender = sender
        self._limit_s = limit_s
        self._late_ns: deque[int] = deque(maxlen=_KEPT)

    def add(self, late_ns: int) -> None:
        """Note one message: time of receipt minus stamp [ns], by this host's clock."""
        self._late_ns.append(late_ns)

    @property
    def estimate_s(self) -> float | None:
        """This clock minus the sender's [s]; None before enough messages."""
        if len(self._late_ns) < _ENOUGH:
            return None
        return seconds(min(tuple(self._late_ns)))

    def unknown(self) -> str:
        """Say that there are stamps, but too few to judge by, else return ""."""
        if not 0 < len(self._late_ns) < _ENOUGH:
            return ""
        return f"{self._sender}: too few messages yet to compare clocks by"

    def problem(self) -> str:
        """Say how far the clocks are apart if that is too far, else return ""."""
        skew_s = self.estimate_s
        if skew_s is None or abs(skew_s) <= self._limit_s:
            return ""
        return (
            f"the clock that stamps {self._sender} is {abs(skew_s) * 1e3:.0f} ms "
            f"{'behind' if skew_s > 0 else 'ahead of'} this one (limit "
            f"{self._limit_s * 1e3:.0f} ms): synchronise them"
        )

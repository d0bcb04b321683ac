# SPDX-License-Identifier: Apache-2.0
"""What came just before an episode: its first inference sees what is older than it.

The recorder may also hear of an inference before it hears of the mode that it belongs to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from levine_policy_node.core.units import nanoseconds
from levine_policy_node.runtime.mcap_writer import RecordedMessage

_SPAN_NS = nanoseconds(0.5)


class Preroll:
    """Keeps the newest messages while no episode is open, and of every topic the last one.

    Args:
        capacity: Bytes to keep besides that last one.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._recent: deque[RecordedMessage] = deque()
        self._older: dict[str, RecordedMessage] = {}
        self._bytes = 0

    def add(self, message: RecordedMessage) -> None:
        """Note a message that no episode has."""
        self._recent.append(message)
        self._bytes += len(message.data)
        begin_ns = message.log_ns - _SPAN_NS
        while self._recent and (self._bytes > self._capacity or self._recent[0].log_ns < begin_ns):
            oldest = self._recent.popleft()
            self._bytes -= len(oldest.data)
            self._older[oldest.topic.name] = oldest

    def take(self, now_ns: int) -> Iterator[RecordedMessage]:
        """Give back everything, oldest first, and forget it.

        What is older than half a second counts as received then: it belongs to this episode, and
        keeps the time it was made.
        """
        begin_ns = now_ns - _SPAN_NS
        recent = {message.topic.name for message in self._recent}
        older = [message for name, message in self._older.items() if name not in recent]
        for message in sorted((*older, *self._recent), key=lambda kept: kept.log_ns):
            yield replace(message, log_ns=max(message.log_ns, begin_ns))
        self._recent.clear()
        self._older.clear()
        self._bytes = 0

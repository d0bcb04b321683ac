# SPDX-License-Identifier: Apache-2.0
"""How many rows of a chunk pass before it takes effect: counted on chunks, never timed."""

from __future__ import annotations

from collections import deque

_WINDOW = 10


class ConsumedRows:
    """Counts of the last chunks.

    The count of a chunk is the index of the first of its rows that is still due at the seam. It
    contains everything that delays a chunk: capture, inference, queueing, transport and
    actuation. Estimating it from the measured latency instead moves the seam by a row now and
    then, which is a jump (huggingface/lerobot#4223).

    Args:
        window: How many chunks are remembered.
    """

    def __init__(self, window: int = _WINDOW) -> None:
        self._counts: deque[int] = deque(maxlen=window)

    def add(self, rows: int) -> None:
        """Note that `rows` rows of a chunk had passed when it took effect."""
        self._counts.append(rows)

    @property
    def largest(self) -> int | None:
        """The largest count remembered, or None before the first chunk."""
        return max(self._counts, default=None)

# SPDX-License-Identifier: Apache-2.0
"""A queue between two threads that is bounded in bytes and never makes the producer wait."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteQueue(Generic[T]):
    """Items in order, up to `capacity` bytes; what does not fit is refused.

    Bulky items (images) are refused when three quarters are in use, so that under overload images
    go first and the small streams that explain the motion go last.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._condition = threading.Condition()
        self._items: list[T] = []
        self._used = 0
        self._closed = False

    def put(self, item: T, size: int, *, bulky: bool = False) -> bool:
        """Append an item of `size` bytes; False if it was refused. Never blocks."""
        limit = self._capacity * 3 // 4 if bulky else self._capacity
        with self._condition:
            if self._closed or self._used + size > limit:
                return False
            self._items.append(item)
            self._used += size
            if self._used > self._capacity // 4:
                self._condition.notify_all()
            return True

    def take_all(self, timeout_s: float) -> list[T]:
        """Wait up to `timeout_s` [s], then take everything.

        Returns early when a quarter of the capacity is in use or the queue is closed, so the
        consumer wakes a few times per second and not for every item.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: self._closed or self._used > self._capacity // 4, timeout_s
            )
            items, self._items, self._used = self._items, [], 0
            return items

    def close(self) -> None:
        """Refuse further items and wake the consumer."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def finished(self) -> bool:
        """Whether the queue is closed and empty."""
        with self._condition:
            return self._closed and not self._items

# SPDX-License-Identifier: Apache-2.0
"""One-slot mailbox between two threads: the newest value wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Hand the newest immutable value from one thread to another.

    A slow reader never makes a writer wait, and never sees an old value: values that were not
    read are replaced. Values must be immutable, since both threads hold them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: T | None = None
        self._count = 0

    def put(self, value: T) -> None:
        """Replace the value."""
        with self._lock:
            self._value = value
            self._count += 1

    def get(self) -> T | None:
        """Return the newest value, or None if there has been none."""
        with self._lock:
            return self._value

    def take(self) -> T | None:
        """Return the newest value once; None until the next `put`."""
        with self._lock:
            value, self._value = self._value, None
            return value

    @property
    def count(self) -> int:
        """How many values have been put, read or not."""
        with self._lock:
            return self._count

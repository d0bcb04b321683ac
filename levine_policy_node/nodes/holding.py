# SPDX-License-Identifier: Apache-2.0
"""Locks that a periodic callback takes only if nobody else holds them just then.

Placing a chunk takes tens of milliseconds on a busy machine; no heartbeat may wait for that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def holding(*locks: threading.Lock, wait: bool) -> Iterator[bool]:
    """Hold all locks, taken in their order; yields whether they are held.

    Args:
        locks: What is to be held.
        wait: Until they are free; else nothing is held if one is not.
    """
    with ExitStack() as held:
        for lock in locks:
            if not lock.acquire(blocking=wait):
                held.close()
                yield False
                return
            held.callback(lock.release)
        yield True

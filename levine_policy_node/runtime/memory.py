# SPDX-License-Identifier: Apache-2.0
"""How much memory this process has."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

_MMAP_THRESHOLD = -3
# Above what an image of a camera takes, which comes and goes all the time.
_LARGE_BYTES = 4 * 1024**2
_STATM = Path("/proc/self/statm")


def resident_mb() -> float:
    """Memory of this process that is in RAM [MB]; NaN where the system does not tell."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def collect_garbage() -> None:
    """Free garbage of every age, and what the interpreter has freed and kept for itself.

    CPython keeps up to 2,000 tuples of each of 20 sizes, and nothing but a collection of the
    oldest generation gives them back (Objects/tupleobject.c). A process that has frozen what its
    start-up made (gc.freeze) may never have one by itself, and grows; but there it is quick, since
    what is frozen is not looked at.
    """
    gc.collect()


def return_memory() -> None:
    """Give memory that was freed back to the system, where its C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def return_large_blocks() -> None:
    """Have the C library give large blocks back whenever they are freed, from now on.

    glibc would soon keep blocks of the size of a network's weights, a few for each thread that has
    ever loaded one (mallopt(3), M_MMAP_THRESHOLD).
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_MMAP_THRESHOLD, _LARGE_BYTES)

# SPDX-License-Identifier: Apache-2.0
"""A process that ends when the one that started it does, however that ended (Linux).

The child asks for it itself: between fork and exec Python can neither do so safely nor be
interrupted without losing the interrupt.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PARENT = "LEVINE_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def as_parent() -> dict[str, str]:
    """Environment of a child that shall end with this process."""
    return {_PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """Be sent SIGINT when the parent's thread that started this ends, if it wants that; prctl(2).

    What handles SIGINT must be in place.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))
    if os.getppid() != int(parent):
        # It was too late to be told.
        os.kill(os.getpid(), signal.SIGINT)

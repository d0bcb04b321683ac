# SPDX-License-Identifier: Apache-2.0
"""Who gets the processor first when there is not enough of it.

On a small computer the cameras, the policy and the recorder together can fill every core. The
order here is: the supervisor, then what the policy needs, then what can wait.
"""

from __future__ import annotations

import os
import sys

URGENT = -10
PROMPT = -5

# The interpreter hands its lock over this often; the default of 5 ms is half a control period.
_SWITCH_S = 0.0005


def set_urgency(nice: int) -> bool:
    """Set the niceness of this process and of the threads it will start.

    Returns:
        False if the operating system does not permit it, which costs punctuality, not safety.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        return False
    return True


def switch_threads_often() -> None:
    """Let a control thread take the interpreter lock from the others within half a millisecond."""
    sys.setswitchinterval(_SWITCH_S)

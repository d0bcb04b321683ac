# SPDX-License-Identifier: Apache-2.0
"""Who gets the processor first when there is not enough of it.

On a small computer the cameras, the policy and the recorder together can fill every core. The
order here is: the supervisor, then what the policy needs, then what can wait.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection
from pathlib import Path

from levine_policy_node.errors import ConfigError

URGENT = -10
PROMPT = -5

# The interpreter hands its lock over this often; the default of 5 ms is half a control period.
_SWITCH_S = 0.0001

_MCL_CURRENT, _MCL_FUTURE = 1, 2


def set_urgency(nice: int) -> bool:
    """Set the niceness of the calling thread and of the threads it will start.

    Returns:
        False if the operating system does not permit it, which costs punctuality, not safety.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        return False
    return True


def switch_threads_often() -> None:
    """Let a control thread take the interpreter lock from the others within 0.1 ms."""
    sys.setswitchinterval(_SWITCH_S)


def runs_in_real_time() -> bool:
    """Whether the calling thread is scheduled by SCHED_FIFO."""
    return os.sched_getscheduler(0) == os.SCHED_FIFO


def use_realtime(source: str, priority: int, cpus: Collection[int], *, lock_memory: bool) -> str:
    """Give the whole process what a control loop can ask of Linux.

    Every thread gets it, not the loop's alone: the others hold the interpreter lock now and then,
    and a loop that waits for a thread that does not get to run is late all the same.

    Args:
        source: Whose parameters these are, for the error.
        priority: SCHED_FIFO priority, 1 to 99; 0 leaves the scheduler alone.
        cpus: Processors to run on; empty for all.
        lock_memory: Keep every page in memory (mlockall).

    Returns:
        Why there is no real-time priority though it was asked for, or "". It is the default, so
        it is no error, as in ros2_control.

    Raises:
        ConfigError: If the system does not permit one of the others.
    """
    threads = [int(path.name) for path in Path("/proc/self/task").iterdir()]
    try:
        if cpus:
            for thread in threads:
                os.sched_setaffinity(thread, cpus)
    except (OSError, ValueError) as error:
        known = ", ".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
        raise ConfigError(
            source, "cpus", f"{sorted(cpus)} cannot be used", f"Choose from {known}"
        ) from error
    if lock_memory and ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        raise ConfigError(
            source,
            "lock_memory",
            f"memory cannot be locked ({os.strerror(ctypes.get_errno())})",
            "Add '<user> - memlock unlimited' to /etc/security/limits.conf and log in again, or "
            "set false",
        )
    try:
        if priority > 0:
            for thread in threads:
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return (
            f"runs without SCHED_FIFO {priority}, which is not permitted to this user, so its "
            "commands come less punctually on a busy machine. Add '<user> - rtprio 99' to "
            "/etc/security/limits.conf and log in again, or set realtime_priority: 0"
        )
    return ""

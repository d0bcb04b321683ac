# SPDX-License-Identifier: Apache-2.0
"""Whether the middleware of this process shares memory with others, and what to say of it."""

from __future__ import annotations

from pathlib import Path

# Of Fast DDS: `fastrtps_...` up to 2.x, `fastdds_...` from 3 on.
_MAPPED = "/dev/shm/fast"
_MAPS = Path("/proc/self/maps")


def shared_memory_warning(maps: Path = _MAPS) -> str:
    """What to say where Fast DDS shares memory with the other processes of this host, else "".

    Opening the port of a process that has just joined, it may sleep for a third of a second in the
    thread that receives everything (Fast DDS 3.2.3, SharedMemGlobal.hpp, `healthy_check`; Fast DDS
    issue 6535).

    Args:
        maps: What the process has mapped, as Linux tells.
    """
    try:
        mapped = maps.read_text()
    except OSError:
        return ""
    if _MAPPED not in mapped:
        return ""
    return (
        "Fast DDS shares memory among the processes of this host: whoever joins the graph, as any "
        "`ros2` command does, may hold all of them up for a third of a second, which stops a "
        'moving arm and delays estop. docs/safety.md, "Shared memory", says how to do without'
    )

# SPDX-License-Identifier: Apache-2.0
"""How the processes that are started here talk, where nobody else has chosen."""

from __future__ import annotations

from collections.abc import Mapping

_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
_CHOSEN = (_TRANSPORTS, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def without_shared_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment so that Fast DDS does without its shared memory.

    With it whoever joins the graph holds others up (docs/safety.md, "Shared memory"). Humble does
    not know the variable, and ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST brings the memory back.

    Args:
        environment: Where the user may have chosen otherwise; then nothing is added.
    """
    if any(environment.get(name) for name in _CHOSEN):
        return {}
    return {_TRANSPORTS: "UDPv4"}

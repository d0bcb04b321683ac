# SPDX-License-Identifier: Apache-2.0
"""How the processes that are started here talk, where nobody else has chosen."""

from __future__ import annotations

from collections.abc import Mapping

from levine_policy_node.resources import fastdds_profile

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_CHOSEN = (
    "FASTDDS_BUILTIN_TRANSPORTS",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
)


def without_shared_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment so that Fast DDS does without its shared memory.

    With it whoever joins the graph holds others up (docs/safety.md, "Shared memory").

    Args:
        environment: Where the user may have chosen otherwise; then nothing is added. Nor where
            this host is chosen: for that, rmw_fastrtps adds shared memory and UDP to any profile.

    Raises:
        SystemDependencyError: If the package's data files are not installed.
    """
    own_host = environment.get(_RANGE, "").strip().upper() == "LOCALHOST"
    if own_host or any(environment.get(name) for name in _CHOSEN):
        return {}
    return fastdds_profile("fastdds_udp")

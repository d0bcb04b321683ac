# SPDX-License-Identifier: Apache-2.0
"""By which transports Fast DDS talks, as environment for processes that are yet to start."""

from __future__ import annotations

import os
from collections.abc import Mapping

from levine_policy_node.resources import share_directory

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Which name a file of profiles: of Fast DDS 3 and later, and of Fast DDS 2."""

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_CHOSEN = ("FASTDDS_BUILTIN_TRANSPORTS", *PROFILE_VARIABLES)
_FAST_DDS_2 = ("humble", "jazzy")


def fastdds_profile(name: str) -> dict[str, str]:
    """Environment that gives Fast DDS the profile `config/dds/<name>.xml`.

    Raises:
        SystemDependencyError: If the package's data files are not installed.
    """
    of_3, of_2 = PROFILE_VARIABLES
    variable = of_2 if os.environ.get("ROS_DISTRO") in _FAST_DDS_2 else of_3
    return {variable: str(share_directory() / "config" / "dds" / f"{name}.xml")}


def loopback_udp() -> dict[str, str]:
    """Environment for UDP within this host, and no shared memory.

    Raises:
        SystemDependencyError: If the package's data files are not installed.
    """
    # Any other range brings shared memory of its own. The profile stays on this host.
    return {**fastdds_profile("fastdds_loopback_udp"), _RANGE: "SUBNET"}


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

# SPDX-License-Identifier: Apache-2.0
"""Keep what a command starts away from real robots."""

from __future__ import annotations

import os

from levine_policy_node.resources import fastdds_profile


def isolate_dds() -> str:
    """Keep a simulated arm away from real ones: this host only, a domain of its own.

    Returns:
        How another shell joins, for display. A domain set by the user is kept.
    """
    os.environ.setdefault("ROS_DOMAIN_ID", str(60 + os.getpid() % 40))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return f"export ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}"


def isolate_dds_without_shared_memory() -> str:
    """As `isolate_dds`, with UDP on this host where that is Fast DDS's to choose.

    Where processes join or are killed, its shared memory holds up others (docs/safety.md, "Shared
    memory").
    """
    if os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        os.environ.update(fastdds_profile("fastdds_loopback_udp"))
        # Any other range brings shared memory of its own. The profile stays on this host.
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
    return isolate_dds()

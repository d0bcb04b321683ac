# SPDX-License-Identifier: Apache-2.0
"""Keep what a command starts away from real robots."""

from __future__ import annotations

import os

from levine_policy_node.transports import loopback_udp


def isolate_dds(*, shared_memory: bool = True) -> str:
    """Keep a simulated arm away from real ones: this host only, a domain of its own.

    Args:
        shared_memory: Whether Fast DDS may use its own, which holds others up where processes join
            or are killed (docs/safety.md, "Shared memory"); else UDP on this host.

    Returns:
        How another shell joins, for display. A domain set by the user is kept.
    """
    fast_dds = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps")
    if fast_dds and not shared_memory:
        os.environ.update(loopback_udp())
    os.environ.setdefault("ROS_DOMAIN_ID", str(60 + os.getpid() % 40))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return f"export ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}"

# SPDX-License-Identifier: Apache-2.0
"""Keep what a command starts away from real robots."""

from __future__ import annotations

import os


def isolate_dds() -> str:
    """Keep a simulated arm away from real ones: this host only, a domain of its own.

    Returns:
        How another shell joins, for display. A domain set by the user is kept.
    """
    os.environ.setdefault("ROS_DOMAIN_ID", str(60 + os.getpid() % 40))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return f"export ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}"

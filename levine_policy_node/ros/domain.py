# SPDX-License-Identifier: Apache-2.0
"""Who else may hear and command this graph, by the environment ROS reads."""

from __future__ import annotations

from collections.abc import Mapping


def domain_id(environment: Mapping[str, str]) -> str:
    """The ROS domain, as text."""
    return environment.get("ROS_DOMAIN_ID", "").strip() or "0"


def open_graph_warning(environment: Mapping[str, str]) -> str:
    """What to say where everybody on the network is in the same graph by default, else ""."""
    reach = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").strip().upper()
    alone = reach in {"LOCALHOST", "OFF"} or environment.get("ROS_LOCALHOST_ONLY") == "1"
    if alone or domain_id(environment) != "0":
        return ""
    return (
        "ROS domain 0, which everybody uses, on the whole network: another robot's nodes may "
        "command this arm, and this one's theirs. Set ROS_DOMAIN_ID, or "
        "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
    )

# SPDX-License-Identifier: Apache-2.0
"""The two clocks: ROS time for data, steady time for watchdogs and deadlines."""

from __future__ import annotations

import time

from builtin_interfaces.msg import Time
from rclpy.node import Node

from levine_policy_node.core.units import NS_PER_S, StampNs, SteadyNs


def steady_now() -> SteadyNs:
    """Read the steady clock [ns]; never stepped by NTP or by `/clock`."""
    return SteadyNs(time.monotonic_ns())


def ros_now(node: Node) -> StampNs:
    """Read the node's ROS clock [ns]."""
    return StampNs(node.get_clock().now().nanoseconds)


def stamp_from_msg(stamp: Time) -> StampNs:
    """Convert a header stamp to [ns]."""
    return StampNs(stamp.sec * NS_PER_S + stamp.nanosec)


def stamp_to_msg(stamp_ns: StampNs) -> Time:
    """Convert [ns] on the ROS clock to a header stamp."""
    sec, nanosec = divmod(int(stamp_ns), NS_PER_S)
    return Time(sec=sec, nanosec=nanosec)

# SPDX-License-Identifier: Apache-2.0
"""Named QoS profiles; no node writes a bare queue depth."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(
    depth: int,
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )


# A best-effort reader matches both reliable and best-effort writers, so sensors are read so.
IMAGE_IN = _profile(1, ReliabilityPolicy.BEST_EFFORT)
IMAGE_OUT = _profile(2)
JOINT_STATE_IN = _profile(10, ReliabilityPolicy.BEST_EFFORT)
JOINT_STATE_OUT = _profile(10)
COMMAND = _profile(1)
HEARTBEAT = _profile(1)
MODE = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PROBLEM = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
ACTIVITY = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TASK = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EVENTS = _profile(100)
OUTCOMES = _profile(20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TICKS = _profile(100)
SWITCH = _profile(10)
SWITCH_KEPT = _profile(10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DIAGNOSTICS = _profile(10)
DESCRIPTION = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# The recorder keeps every value of a burst, where a reader of the newest may skip some.
RECORDED_SENSOR = _profile(20, ReliabilityPolicy.BEST_EFFORT)
# One second of the fastest, should the recorder be held up for so long.
RECORDED_STATES = _profile(500, ReliabilityPolicy.BEST_EFFORT)
RECORDED_LATCHED = _profile(100, durability=DurabilityPolicy.TRANSIENT_LOCAL)

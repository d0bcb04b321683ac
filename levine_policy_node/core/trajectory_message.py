# SPDX-License-Identifier: Apache-2.0
"""The window of a control tick, serialized at once.

Filling the message classes for 20 points takes most of a tick's time for sending, seven times
this. The bytes are the same, and rclpy publishes them as they are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from levine_policy_node.core.cdr import CdrWriter, Header
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import NS_PER_S, StampNs


def trajectory_bytes(timeline: Timeline[StampNs]) -> bytes:
    """Serialize a trajectory_msgs/JointTrajectory; `effort` stays empty.

    `header.stamp` is the absolute start and `header.frame_id` the source tag.
    """
    joints, knots = len(timeline.joint_names), len(timeline.times_s)
    times_ns = np.rint(timeline.times_s * NS_PER_S).astype(np.int64)
    points = np.zeros(knots, _point_type(joints))
    for field in ("positions", "velocities", "accelerations"):
        points[f"{field}_length"] = joints
        points[field] = getattr(timeline, field)
    points["sec"], points["nanosec"] = np.divmod(times_ns, NS_PER_S)
    writer = CdrWriter()
    writer.header(Header(timeline.start_ns, timeline.source))
    writer.uint32(joints)
    for name in timeline.joint_names:
        writer.string(name)
    writer.uint32(knots)
    body = points.tobytes()
    if writer.aligned(8):
        # The first point's floats then lie 4 bytes farther from its length than the others'.
        body = body[:4] + bytes(4) + body[4:]
    writer.raw(body)
    return writer.finish()


@lru_cache
def _point_type(joints: int) -> np.dtype[np.void]:
    """A trajectory_msgs/JointTrajectoryPoint of so many joints that starts at 4 modulo 8."""
    values = ("<f8", (joints,))
    return np.dtype(
        [
            ("positions_length", "<u4"),
            ("positions", *values),
            ("velocities_length", "<u4"),
            ("before_velocities", "V4"),
            ("velocities", *values),
            ("accelerations_length", "<u4"),
            ("before_accelerations", "V4"),
            ("accelerations", *values),
            ("effort_length", "<u4"),
            ("sec", "<i4"),
            ("nanosec", "<u4"),
        ]
    )

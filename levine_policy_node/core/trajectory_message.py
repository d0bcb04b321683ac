# SPDX-License-Identifier: Apache-2.0
"""Timelines as serialized trajectory_msgs/JointTrajectory, written and read at once.

Filling the message classes for 20 points takes most of a tick's time for sending, seven times
this, and reading them takes as much. The bytes are the same, and rclpy takes and gives them as
they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from levine_policy_node.core.cdr import CdrError, CdrReader, CdrWriter, Header
from levine_policy_node.core.supervision import Rest
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs


def trajectory_bytes(timeline: Timeline[StampNs]) -> bytes:
    """Serialize a trajectory_msgs/JointTrajectory; `effort` stays empty.

    `header.stamp` is the absolute start and `header.frame_id` the source tag.
    """
    knots = _Knots(timeline.positions, timeline.velocities, timeline.accelerations)
    header = Header(timeline.start_ns, timeline.source)
    return _bytes(header, timeline.joint_names, timeline.times_s, knots)


def rest_bytes(joint_names: tuple[str, ...], rest: Rest, source: str) -> bytes:
    """Serialize a rest as a trajectory of one point.

    A stamp of zero starts a trajectory when the controller first samples it, and the way to its
    first point begins in the state that it commands then (joint_trajectory_controller,
    `Trajectory::update` and `Trajectory::sample`).
    """
    pose = rest.position[np.newaxis]
    knots = _Knots(pose, np.zeros_like(pose), np.zeros_like(pose))
    return _bytes(Header(StampNs(0), source), joint_names, np.array([rest.duration_s]), knots)


class _Knots(NamedTuple):
    """Each of shape (K, J)."""

    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray


def _bytes(
    header: Header, joint_names: tuple[str, ...], times_s: FloatArray, values: _Knots
) -> bytes:
    knots, joints = values.positions.shape
    times_ns = np.rint(times_s * NS_PER_S).astype(np.int64)
    points = np.zeros(knots, _point_type(joints))
    for field, array in values._asdict().items():
        points[f"{field}_length"] = joints
        points[field] = array
    points["sec"], points["nanosec"] = np.divmod(times_ns, NS_PER_S)
    writer = CdrWriter()
    writer.header(header)
    writer.uint32(joints)
    for name in joint_names:
        writer.string(name)
    writer.uint32(knots)
    body = points.tobytes()
    if writer.aligned(8):
        # The first point's floats then lie 4 bytes farther from its length than the others'.
        body = body[:4] + bytes(4) + body[4:]
    writer.raw(body)
    return writer.finish()


@dataclass(frozen=True, slots=True, eq=False)
class TrajectoryFields:
    """What a message says, not checked in any way.

    Attributes:
        joint_names: J names.
        stamp_ns: `header.stamp`.
        times_s: `time_from_start` of each point, shape (K,) [s].
        positions: Shape (K, J) [rad].
        velocities: Shape (K, J) [rad/s].
        accelerations: Shape (K, J) [rad/s^2].
        source: `header.frame_id`.
    """

    joint_names: tuple[str, ...]
    stamp_ns: StampNs
    times_s: FloatArray
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray
    source: str


def read_trajectory(data: bytes) -> TrajectoryFields | None:
    """Read what `trajectory_bytes` writes.

    Returns:
        None if the message is not of that form, such as one with efforts or no accelerations.
    """
    try:
        reader = CdrReader(data)
        if not reader.little_endian:
            return None
        header = reader.header()
        names = tuple(reader.string() for _ in range(reader.uint32()))
        knots = reader.uint32()
    except CdrError:
        return None
    dtype, body = _point_type(len(names)), reader.rest()
    if len(body) != knots * dtype.itemsize:
        # The first point's floats lie 4 bytes farther from its length than the others'.
        body = body[:4] + body[8:]
    if knots == 0 or not names or len(body) != knots * dtype.itemsize:
        return None
    points = np.frombuffer(body, dtype)
    lengths = {"positions": len(names), "velocities": len(names), "accelerations": len(names)}
    if any(np.any(points[f"{f}_length"] != n) for f, n in {**lengths, "effort": 0}.items()):
        return None
    times_s = points["sec"] + points["nanosec"] / NS_PER_S
    p, v, a = (points[field].astype(np.float64) for field in lengths)
    return TrajectoryFields(names, header.stamp_ns, times_s, p, v, a, header.frame_id)


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

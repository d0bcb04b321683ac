# SPDX-License-Identifier: Apache-2.0
"""Efforts on absolute time as trajectory_msgs/JointTrajectory, with `effort` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.ros.clocks import stamp_from_msg, stamp_to_msg
from levine_policy_node.ros.messages import (
    MessageError,
    check_size,
    duration_from_msg,
    duration_to_msg,
    trajectory_from_bytes,
)


def placed_message(line: Timeline[StampNs] | EffortTimeline[StampNs]) -> JointTrajectory | bytes:
    """`policy/action_chunk` of a timeline of either kind; positions come serialized."""
    return efforts_to_msg(line) if isinstance(line, EffortTimeline) else trajectory_bytes(line)


def efforts_to_msg(line: EffortTimeline[StampNs]) -> JointTrajectory:
    """Build a JointTrajectory whose efforts stand from one point to the next.

    `header.stamp` is the absolute start and `header.frame_id` the source tag.
    """
    message = JointTrajectory()
    message.header.stamp = stamp_to_msg(line.start_ns)
    message.header.frame_id = line.source
    message.joint_names = list(line.joint_names)
    message.points = [
        JointTrajectoryPoint(effort=row.tolist(), time_from_start=duration_to_msg(float(time_s)))
        for time_s, row in zip(line.times_s, line.efforts, strict=True)
    ]
    return message


def efforts_from_msg(
    message: JointTrajectory, joint_names: Sequence[str]
) -> EffortTimeline[StampNs]:
    """Read efforts, with their columns put in the order of `joint_names`.

    Raises:
        MessageError: If joints, sizes, times or values are not usable, or there are positions.
    """
    names = list(message.joint_names)
    if sorted(names) != sorted(joint_names):
        raise MessageError(f"joints are {names}, not {list(joint_names)}")
    if len(message.points) < 2:
        raise MessageError(f"{len(message.points)} points; efforts need two or more")
    if any(len(p.positions) or len(p.velocities) for p in message.points):
        raise MessageError("positions or velocities, and this arm takes efforts")
    if any(len(point.effort) != len(names) for point in message.points):
        raise MessageError(f"every point needs {len(names)} efforts")
    efforts = np.array([point.effort for point in message.points], dtype=np.float64)
    times_s = np.array([duration_from_msg(p.time_from_start) for p in message.points])
    if not np.all(np.isfinite(efforts)):
        raise MessageError("efforts are not finite")
    if np.any(np.diff(times_s) <= 0):
        raise MessageError("time_from_start must strictly increase")
    first_s = float(times_s[0])
    return EffortTimeline(
        tuple(joint_names),
        StampNs(stamp_from_msg(message.header.stamp) + nanoseconds(first_s)),
        times_s - first_s,
        efforts[:, [names.index(name) for name in joint_names]],
        message.header.frame_id,
    )


def efforts_from_bytes(data: bytes, joint_names: Sequence[str]) -> EffortTimeline[StampNs]:
    """Read a serialized JointTrajectory as `efforts_from_msg` does.

    Raises:
        MessageError: If joints, sizes, times or values are not usable, or there are positions.
    """
    check_size(data)
    return efforts_from_msg(trajectory_from_bytes(data), joint_names)

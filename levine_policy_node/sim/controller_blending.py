# SPDX-License-Identifier: Apache-2.0
"""Trajectory replacement of joint_trajectory_controller from ros2_controllers 6.9 on.

Read in `jtc.cpp` of branch master, `blend_with_active_trajectory` (:1789-1895). Two things matter
to whoever streams windows. A message is joined where the running trajectory was in the *last*
cycle (`traj_time_`, which is advanced only afterwards, :330-334), and its stamp counts only if it
lies in the future (:1814). So points that were meant for given times are played late by as much
as the stamp lies in the past.

A joint that is named twice leaves another one out, which the original then takes from the old
trajectory; that part is not modelled.
"""

from __future__ import annotations

from levine_policy_node.core.units import StampNs
from levine_policy_node.sim.controller_trajectory import (
    RunningTrajectory,
    TrajectoryPoint,
    as_point,
)


def blended(
    old: RunningTrajectory,
    stamp_ns: StampNs,
    points: list[TrajectoryPoint],
    now_ns: StampNs,
    cursor_ns: StampNs,
) -> RunningTrajectory:
    """Join a new trajectory to the one being played.

    Args:
        old: Being played.
        stamp_ns: Start of the new one as it was sent.
        points: Of the new one, in the controller's joint order.
        now_ns: Time of this cycle.
        cursor_ns: Time of the cycle before, up to where `old` has been played.
    """
    if old.start_ns is None:
        raise ValueError("blended: the old trajectory was never sampled")
    start_ns = cursor_ns + max(0, stamp_ns - now_ns)
    joined: list[TrajectoryPoint] = []
    for point in old.points:
        at_ns = old.start_ns + point.time_from_start_ns
        if cursor_ns < at_ns < start_ns:
            joined.append(point.at(at_ns - cursor_ns))
    bridge = old.sample(StampNs(start_ns))
    if bridge is not None and points[0].time_from_start_ns > 0:
        joined.append(as_point(bridge, start_ns - cursor_ns))
    joined.extend(p.at(start_ns - cursor_ns + p.time_from_start_ns) for p in points)
    # Stamp 0 anchors the whole at the cycle that samples it first.
    return RunningTrajectory(StampNs(0), joined)

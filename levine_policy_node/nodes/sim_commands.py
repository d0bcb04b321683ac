# SPDX-License-Identifier: Apache-2.0
"""Trajectories as they reach the simulated controller, right or wrong.

Reading a window of 60 points through the message classes takes 1.3 ms, which no controller in C++
spends, and under the interpreter lock its cycles wait for that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.message_values import MessageError, usable_timeline
from levine_policy_node.core.trajectory_message import TrajectoryFields, read_trajectory
from levine_policy_node.core.units import nanoseconds
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.messages import duration_from_msg, trajectory_from_bytes
from levine_policy_node.sim.controller_trajectory import TrajectoryCommand, TrajectoryPoint
from levine_policy_node.sim.limit_checks import Findings, check_trajectory


def read_command(data: bytes) -> tuple[TrajectoryCommand, TrajectoryFields | None]:
    """Read a serialized JointTrajectory; its fields, too, if it has all derivatives.

    Raises:
        MessageError: If the bytes are no JointTrajectory.
    """
    found = read_trajectory(data)
    if found is None:
        return trajectory_command_from_msg(trajectory_from_bytes(data)), None
    points = zip(
        found.times_s, found.positions, found.velocities, found.accelerations, strict=True
    )
    command = TrajectoryCommand(
        found.joint_names,
        found.stamp_ns,
        tuple(TrajectoryPoint(nanoseconds(float(t)), p, v, a) for t, p, v, a in points),
    )
    return command, found


def judged(
    found: TrajectoryFields | None, joint_names: Sequence[str], limits: JointLimits
) -> Findings | None:
    """What a trajectory asks for beyond the limits.

    None of one without all derivatives or with unusable values: only what the controller makes of
    it can be judged.
    """
    if found is None:
        return None
    try:
        return check_trajectory(usable_timeline(found, joint_names), limits)
    except MessageError:
        return None


def trajectory_command_from_msg(message: JointTrajectory) -> TrajectoryCommand:
    """Read a trajectory as it was sent, right or wrong."""
    return TrajectoryCommand(
        tuple(message.joint_names),
        stamp_from_msg(message.header.stamp),
        tuple(
            TrajectoryPoint(
                nanoseconds(duration_from_msg(point.time_from_start)),
                np.array(point.positions),
                np.array(point.velocities),
                np.array(point.accelerations),
                np.array(point.effort),
            )
            for point in message.points
        ),
    )

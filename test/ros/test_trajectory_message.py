# SPDX-License-Identifier: Apache-2.0
"""Bytes made directly are the message that rclpy would have made."""

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from levine_policy_node.core.supervision import Rest
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import (
    read_trajectory,
    rest_bytes,
    trajectory_bytes,
)
from levine_policy_node.core.units import StampNs
from levine_policy_node.ros.messages import (
    MessageError,
    timeline_from_bytes,
    timeline_from_msg,
    timeline_to_msg,
)

stamps = st.integers(0, 2**31 * 10**9 - 1).map(StampNs)
# Every length, so that what follows starts at every alignment.
texts = st.text(max_size=12).filter(lambda text: "\0" not in text)
names = st.lists(texts, min_size=1, max_size=8, unique=True).map(tuple)


@given(names, stamps, texts, st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_trajectory(joints, stamp_ns, source, knots, seed):
    rng = np.random.default_rng(seed)
    times = np.concatenate([[0.0], np.cumsum(rng.integers(1, 10**9, knots - 1) / 1e9)])
    p, v, a = (rng.normal(size=(knots, len(joints))) for _ in range(3))
    timeline = Timeline(joints, stamp_ns, times, p, v, a, source)
    data = trajectory_bytes(timeline)
    made = deserialize_message(data, JointTrajectory)
    assert made == timeline_to_msg(timeline)
    read, slowly = timeline_from_bytes(data, joints), timeline_from_msg(made, joints)
    assert (read.joint_names, read.start_ns, read.source) == (joints, stamp_ns, source)
    for field in ("times_s", "positions", "velocities", "accelerations"):
        assert np.array_equal(getattr(read, field), getattr(slowly, field))


@given(names, texts, st.integers(1, 10**10), st.integers(0, 2**32 - 1))
def test_a_rest_is_a_trajectory_of_one_point_without_a_stamp(joints, source, duration_ns, seed):
    pose = np.random.default_rng(seed).normal(size=len(joints))
    data = rest_bytes(joints, Rest(pose, duration_ns / 1e9), source)
    still = [0.0] * len(joints)
    sec, nanosec = divmod(duration_ns, 10**9)
    point = JointTrajectoryPoint(
        positions=pose.tolist(),
        velocities=still,
        accelerations=still,
        time_from_start=Duration(sec=sec, nanosec=nanosec),
    )
    message = JointTrajectory(joint_names=list(joints), points=[point])
    message.header.frame_id = source
    assert deserialize_message(data, JointTrajectory) == message


def whole(changes: dict) -> JointTrajectory:
    """A message of two points with something else in the second."""
    point = {"positions": [0.0], "velocities": [0.0], "accelerations": [0.0]}
    first = JointTrajectoryPoint(**point)
    last = JointTrajectoryPoint(**{**point, "time_from_start": Duration(sec=1), **changes})
    return JointTrajectory(joint_names=["a"], points=[first, last])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"accelerations": []}, "every point needs 1 accelerations"),
        ({"positions": [0.0, 0.0]}, "every point needs 1 positions"),
        ({"velocities": [float("nan")]}, "velocities are not finite"),
        ({"time_from_start": Duration()}, "time_from_start must strictly increase"),
    ],
)
def test_bytes_are_refused_for_the_same_reasons(changes, problem):
    message = whole(changes)
    for read in (timeline_from_bytes, timeline_from_msg):
        data = serialize_message(message) if read is timeline_from_bytes else message
        with pytest.raises(MessageError, match=problem):
            read(data, ("a",))


def test_efforts_and_an_empty_message_are_read_the_slow_way():
    assert len(timeline_from_bytes(serialize_message(whole({"effort": [1.0]})), ("a",)).times_s)
    with pytest.raises(MessageError, match="no points"):
        timeline_from_bytes(serialize_message(JointTrajectory()), ("a",))


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(data):
    read_trajectory(data)

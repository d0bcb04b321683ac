# SPDX-License-Identifier: Apache-2.0
"""Efforts on the wire: there and back by name, and what is not usable."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs
from levine_policy_node.ros.effort_messages import (
    efforts_from_bytes,
    efforts_from_msg,
    efforts_to_msg,
    placed_message,
)
from levine_policy_node.ros.messages import MessageError, action_chunk_to_msg, timeline_from_msg

NAMES = ("pan", "lift")
LINE = EffortTimeline(
    NAMES,
    StampNs(1_700_000_000_123_456_789),
    np.array([0.0, 0.05, 0.15]),
    np.array([[0.1, -0.2], [0.3, 0.4], [0.3, 0.4]]),
    "policy:p@0#1",
)


def test_efforts_come_back_as_they_went_in_the_order_that_is_asked_for():
    message = efforts_to_msg(LINE)
    assert all(len(p.effort) == 2 and len(p.positions) == 0 for p in message.points)
    back = efforts_from_bytes(serialize_message(message), ("lift", "pan"))
    assert back.joint_names == ("lift", "pan")
    assert (back.start_ns, back.source) == (LINE.start_ns, LINE.source)
    np.testing.assert_array_equal(back.efforts, LINE.efforts[:, ::-1])
    np.testing.assert_allclose(back.times_s, LINE.times_s, atol=1e-12)


def test_a_timeline_of_either_kind_becomes_its_own_message():
    assert isinstance(placed_message(LINE), JointTrajectory)
    still = np.zeros((2, 2))
    standing = Timeline(NAMES, StampNs(1), np.array([0.0, 1.0]), still, still, still)
    assert isinstance(placed_message(standing), bytes)


def test_an_arm_of_positions_does_not_read_efforts():
    with pytest.raises(MessageError, match="positions"):
        timeline_from_msg(efforts_to_msg(LINE), NAMES)


def test_the_raw_chunk_has_efforts_at_the_times_of_its_rows():
    efforts = np.array([[1.0, 2.0], [3.0, 4.0]])
    chunk = ActionChunk(NAMES, StampNs(5), 0.05, np.zeros((2, 2)), efforts=efforts)
    message = action_chunk_to_msg(chunk)
    assert [list(p.effort) for p in message.points] == efforts.tolist()
    assert all(len(p.positions) == 0 for p in message.points)
    assert [p.time_from_start.nanosec for p in message.points] == [50_000_000, 100_000_000]


def _positions(message):
    message.points[0].positions = [0.0, 0.0]


def _one_point(message):
    message.points = message.points[:1]


def _short(message):
    message.points[1].effort = [1.0]


def _nan(message):
    message.points[1].effort = [1.0, float("nan")]


def _backwards(message):
    message.points[2].time_from_start.nanosec = 0


def _renamed(message):
    message.joint_names = ["pan", "roll"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_positions, "takes efforts"),
        (_one_point, "two or more"),
        (_short, "2 efforts"),
        (_nan, "not finite"),
        (_backwards, "strictly increase"),
        (_renamed, "joints are"),
    ],
)
def test_what_is_not_usable_is_said(spoil, said):
    message = efforts_to_msg(LINE)
    spoil(message)
    with pytest.raises(MessageError, match=said):
        efforts_from_msg(message, NAMES)

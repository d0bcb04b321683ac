# SPDX-License-Identifier: Apache-2.0
"""Messages to core values and back: by name, exact, and bad ones are refused with a reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import StampNs
from levine_policy_node.ros.clocks import stamp_from_msg, stamp_to_msg
from levine_policy_node.ros.messages import (
    MessageError,
    action_chunk_to_msg,
    by_name,
    duration_from_msg,
    duration_to_msg,
    image_from_msg,
    image_to_msg,
    joint_state_to_msg,
    timeline_from_msg,
    timeline_to_msg,
)

NAMES = ("a", "b", "c")


def timeline(seed=0, knots=5):
    rng = np.random.default_rng(seed)
    times = np.concatenate([[0.0], np.cumsum(rng.integers(1, 10**8, knots - 1) / 1e9)])
    p, v, a = (rng.normal(size=(knots, 3)) for _ in range(3))
    return Timeline(NAMES, StampNs(1_700_000_000_123_456_789), times, p, v, a, "policy:x@1#2")


@given(st.integers(0, 2**62))
def test_stamps_survive(ns):
    assert stamp_from_msg(stamp_to_msg(StampNs(ns))) == ns


@given(st.integers(0, 10**12))
def test_durations_survive_to_the_nanosecond(ns):
    assert round(duration_from_msg(duration_to_msg(ns / 1e9)) * 1e9) == ns


@given(st.integers(0, 100))
def test_a_timeline_survives_bit_for_bit(seed):
    sent = timeline(seed)
    got = timeline_from_msg(timeline_to_msg(sent), NAMES)
    assert got.start_ns == sent.start_ns
    assert got.source == sent.source
    for name in ("positions", "velocities", "accelerations"):
        np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
    np.testing.assert_allclose(got.times_s, sent.times_s, atol=1e-9)


def test_columns_are_bound_by_name():
    sent = timeline()
    got = timeline_from_msg(timeline_to_msg(sent), ("c", "a", "b"))
    np.testing.assert_array_equal(got.positions, sent.positions[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m.points.clear(), "no points"),
        (lambda m: m.joint_names.__setitem__(0, "b"), "joints"),
        (lambda m: m.joint_names.__setitem__(0, "z"), "joints"),
        (lambda m: m.points[1].positions.__setitem__(0, float("nan")), "finite"),
        (lambda m: m.points[1].velocities.__setitem__(0, float("inf")), "finite"),
        (lambda m: setattr(m.points[1], "accelerations", []), "accelerations"),
        (lambda m: setattr(m.points[2], "time_from_start", duration_to_msg(0.0)), "increase"),
    ],
    ids=["empty", "twice", "unknown", "nan", "inf", "no accelerations", "time"],
)
def test_a_bad_timeline_is_refused_with_a_reason(spoil, reason):
    message = timeline_to_msg(timeline())
    spoil(message)
    with pytest.raises(MessageError, match=reason):
        timeline_from_msg(message, NAMES)


@pytest.mark.parametrize(
    ("names", "values", "reason"),
    [
        (["a", "b"], [1.0, 2.0], "missing: c"),
        (["a", "b", "c"], [1.0], "1 values"),
        (["a", "a", "b", "c"], [1.0, 1.0, 2.0, 3.0], "twice"),
    ],
)
def test_by_name_refuses(names, values, reason):
    with pytest.raises(MessageError, match=reason):
        by_name(NAMES, names, values)


def test_by_name_ignores_order_and_extra_joints():
    picked = by_name(NAMES, ["x", "c", "b", "a"], [9.0, 3.0, 2.0, 1.0])
    np.testing.assert_array_equal(picked, [1.0, 2.0, 3.0])


def test_raw_chunk_rows_have_the_policys_own_times():
    chunk = ActionChunk(NAMES, StampNs(10**9), 0.1, np.zeros((3, 3)), "policy:x@1#2")
    message = action_chunk_to_msg(chunk)
    assert stamp_from_msg(message.header.stamp) == 10**9
    assert [round(duration_from_msg(p.time_from_start), 9) for p in message.points] == [
        0.1, 0.2, 0.3,
    ]  # fmt: skip


def test_joint_state_carries_the_source():
    point = JointPoint(np.arange(3.0), np.ones(3), np.zeros(3))
    message = joint_state_to_msg(NAMES, point, StampNs(5), "hold")
    assert list(message.name) == list(NAMES)
    assert list(message.position) == [0.0, 1.0, 2.0]
    assert message.header.frame_id == "hold"


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_images_come_out_as_rgb(encoding):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    message = image_to_msg(pixels if encoding == "rgb8" else pixels[:, :, ::-1], StampNs(1), "cam")
    message.encoding = encoding
    np.testing.assert_array_equal(image_from_msg(message), pixels)


@pytest.mark.parametrize(
    ("field", "value"), [("encoding", "mono8"), ("height", 5), ("width", 0), ("step", 3)]
)
def test_bad_images_are_refused(field, value):
    message = image_to_msg(np.zeros((4, 6, 3), np.uint8), StampNs(1), "cam")
    setattr(message, field, value)
    with pytest.raises(MessageError):
        image_from_msg(message)

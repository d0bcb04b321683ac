# SPDX-License-Identifier: Apache-2.0
"""Answers that cannot be any are found in the policy's own rows, and the rest are let be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.alignment import Problem
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.output_watch import OutputWatch, chattering
from levine_policy_node.core.units import StampNs

NAMES = ("shoulder", "elbow", "gripper")
LIMITS = JointLimits(
    names=NAMES,
    lower=np.array([-1.0, -2.0, 0.0]),
    upper=np.array([1.0, 2.0, 0.5]),
    velocity=np.full(3, 2.0),
    acceleration=np.full(3, 8.0),
    jerk=np.full(3, 80.0),
)
GRIPPER = np.array([False, False, True])
DT_S = 0.05
FAR = np.array([0.0, 6.0, 0.0])
# Its second difference is four times as much.
CAN_FOLLOW = 8.0 * DT_S**2 / 4.0
SIGNS = np.where(np.arange(16) % 2 == 0, 1.0, -1.0)


def watch():
    return OutputWatch(LIMITS, GRIPPER)


def chunk(at_s, rows, **fields):
    return ActionChunk(NAMES, StampNs(round(at_s * 1e9)), DT_S, np.asarray(rows), **fields)


def smooth(at_s, rows=16):
    times = at_s + DT_S * np.arange(rows)
    return np.stack([0.5 * np.sin(2.0 * times), np.cos(times), 0.25 + 0.0 * times], axis=1)


def chattering_rows(at_s, joint, size=4.0 * CAN_FOLLOW):
    rows = smooth(at_s)
    rows[:, joint] += size * SIGNS
    return rows


def asked(watch, rows, until_s, period_s=0.2):
    """What is said of answers that `rows(at_s)` gives, each with when."""
    times = np.arange(0.0, until_s, period_s)
    said = [(float(t), watch.add(chunk(t, rows(t)))) for t in times]
    return [(t, fault) for t, fault in said if fault is not None]


def test_smooth_answers_are_let_be():
    looked = watch()
    assert asked(looked, smooth, 3.0) == []
    assert looked.stuck() is None


def test_chatter_is_told_after_half_a_second_with_its_joint_and_taken_back():
    looked = watch()
    (first_s, fault), *_ = asked(looked, lambda t: chattering_rows(t, 1), 1.1)
    assert 0.5 <= first_s < 0.75
    assert str(fault) == "policy output: turns to and fro faster than the arm can (elbow)"
    assert looked.add(chunk(1.2, smooth(1.2))) is None
    assert asked(looked, lambda t: chattering_rows(t, 1), 0.41) == []


def test_a_gripper_may_open_and_close():
    assert asked(watch(), lambda t: chattering_rows(t, 2, 0.25), 2.0) == []


@pytest.mark.parametrize(("size", "found"), [(0.9 * CAN_FOLLOW, False), (1.3 * CAN_FOLLOW, True)])
def test_what_the_arm_can_follow_is_noise(size, found):
    rows = size * SIGNS[:, None] * np.ones(3)
    assert chattering(rows, DT_S, LIMITS.acceleration).all() == found
    assert chattering(rows, DT_S, LIMITS.acceleration).any() == found


def test_every_third_row_is_not_yet_chatter():
    steps = np.resize([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], 30)
    rows = np.cumsum(steps)[:, None] * np.ones(3)
    assert not chattering(rows, DT_S, LIMITS.acceleration).any()
    steps = np.resize([1.0, 1.0, -1.0, -1.0], 30)
    assert chattering(np.cumsum(steps)[:, None] * np.ones(3), DT_S, LIMITS.acceleration).all()


def test_a_policy_of_single_actions_is_judged_by_what_it_said_lately():
    looked = watch()

    def single(at_s):
        return chattering_rows(at_s, 1)[[round(at_s / DT_S) % 2]]

    (first_s, fault), *_ = asked(looked, single, 1.0, DT_S)
    assert fault.problem is Problem.CHATTERS
    assert 0.3 < first_s <= 0.55
    # Half a second of good ones later it is forgotten.
    rest = [looked.add(chunk(t, smooth(t, 1))) for t in np.arange(1.0, 2.0, DT_S)]
    assert rest[0] is not None
    assert rest[-1] is None


def test_rows_that_a_newer_chunk_replaces_do_not_count():
    looked = watch()

    def two(at_s):
        # The second row is always replaced; it alone is far off.
        rows = smooth(at_s, 2)
        rows[1] += 1.0
        return rows

    assert asked(looked, two, 2.0, DT_S) == []


def test_far_out_of_range_is_told_after_half_a_second():
    looked = watch()
    (first_s, fault), *_ = asked(looked, lambda t: smooth(t) + FAR, 1.1)
    assert 0.5 <= first_s < 0.75
    assert str(fault) == "policy output: far beyond the range of the joint (elbow)"
    below = asked(watch(), lambda t: smooth(t) - FAR, 1.1)
    assert below[0][1].problem is Problem.OUT_OF_RANGE


def test_a_little_out_of_range_at_times_or_a_gripper_is_not():
    at_end = np.tile([1.0 + 0.09, -2.0 - 0.19, 0.2], (16, 1))
    assert asked(watch(), lambda _: at_end, 2.0) == []
    assert asked(watch(), lambda t: smooth(t) + 6.0 * GRIPPER, 2.0) == []

    def at_times(at_s):
        rows = smooth(at_s)
        rows[0, 0] = 0.0
        rows[1:, 0] = 5.0
        return rows

    assert asked(watch(), at_times, 2.0) == []


def test_velocities_are_summed_up_from_anywhere():
    anywhere = np.array([np.nan, 7.0, np.nan])
    looked = watch()
    for t in np.arange(0.0, 2.0, 0.2):
        far = smooth(t) + FAR
        assert looked.add(chunk(t, far, integrated_from=anywhere)) is None


def test_efforts_are_not_judged():
    looked = watch()
    for t in np.arange(0.0, 2.0, 0.2):
        rows = chattering_rows(t, 0)
        assert looked.add(chunk(t, rows, efforts=rows)) is None


def test_the_same_answer_for_a_second_is_stuck():
    looked, rows = watch(), smooth(0.0)
    for t in np.arange(0.0, 1.15, 0.2):
        assert looked.add(chunk(t, rows)) is None
        assert looked.stuck() is None
    looked.add(chunk(1.2, rows))
    kind, text = looked.stuck()
    assert kind == "stuck"
    assert "bit for bit" in text
    looked.add(chunk(1.4, rows + 1e-12))
    assert looked.stuck() is None


@pytest.mark.parametrize("later_s", [-0.2, 5.1])
def test_what_was_before_a_pause_or_a_clock_that_went_back_is_forgotten(later_s):
    looked = watch()
    asked(looked, lambda t: chattering_rows(t, 1), 0.41)
    begin_s = 0.4 + later_s
    assert looked.add(chunk(begin_s, chattering_rows(begin_s, 1))) is None
    assert looked.add(chunk(begin_s + 0.4, chattering_rows(begin_s, 1))) is None
    assert looked.add(chunk(begin_s + 0.6, chattering_rows(begin_s, 1))) is not None


@given(st.integers(1, 20), st.floats(-3.0, 3.0), st.floats(0.0, 2.0), st.sampled_from([0.02, 0.1]))
def test_no_straight_way_chatters(rows, begin, speed, dt_s):
    way = begin + speed * dt_s * np.arange(rows)[:, None] * np.ones(3)
    assert not chattering(way, dt_s, LIMITS.acceleration).any()

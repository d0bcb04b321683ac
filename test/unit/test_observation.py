# SPDX-License-Identifier: Apache-2.0
"""Histories, the frame store and the replanner: what reaches the policy, and when."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.alignment import AlignmentLimits, Problem, StreamFault
from levine_policy_node.core.frame_checks import FrameLimits
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.history import History
from levine_policy_node.core.observation import JointSample, Observation
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.core.units import StampNs

MS = 1_000_000


def sample(stamp_ns):
    return JointSample(StampNs(stamp_ns), np.zeros(1))


def image(value=0):
    return np.full((40, 40, 3), value, dtype=np.uint8)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 8))
def test_a_history_is_in_order_bounded_and_ends_with_the_newest(stamps, capacity):
    history = History()
    for stamp in stamps:
        history = history.extended(sample(stamp), capacity)
    kept = [s.stamp_ns for s in history.samples]
    assert kept == sorted(set(kept))
    assert len(kept) <= capacity
    if stamps:
        assert kept[-1] == stamps[-1]


def test_a_history_is_a_value():
    before = History().extended(sample(1), 4)
    after = before.extended(sample(2), 4)
    assert len(before.samples) == 1
    assert len(after.samples) == 2


def test_the_store_counts_repeats_of_identical_pixels():
    store = FrameStore()
    for stamp, value in enumerate([1, 1, 1, 2, 2]):
        store.put("front", StampNs(stamp + 1), image(value))
    assert [f.repeats for f in store.history("front").samples] == [0, 1, 2, 0, 1]
    assert store.count("front") == 5
    assert store.count("wrist") == 0


def test_one_different_pixel_is_not_a_repeat():
    store = FrameStore()
    store.put("front", StampNs(1), image())
    changed = image()
    changed[3, 3, 1] = 1
    store.put("front", StampNs(2), changed)
    store.put("front", StampNs(3), image()[:39])
    assert [f.repeats for f in store.history("front").samples] == [0, 0, 0]


def test_the_listener_hears_every_frame_until_it_leaves():
    store = FrameStore()
    heard = []
    store.listen(heard.append)
    store.put("front", StampNs(1), image())
    store.listen(None)
    store.put("front", StampNs(2), image())
    assert heard == [1]


def limits():
    return AlignmentLimits(0.2, 0.1, 0.1, np.array([True]))


def replanner(store, period_ms=200, slack_ms=16):
    options = ReplanOptions("every", period_ms * MS, slack_ms * MS)
    made = Replanner(store, ("front",), limits(), options)
    for stamp in range(0, 3000, 10):
        made.add_joint_sample(sample(stamp * MS))
    return made


def observe_at(made, store, stamp_ms):
    made.add_joint_sample(sample(stamp_ms * MS))
    store.put("front", StampNs(stamp_ms * MS), image(stamp_ms % 256))
    found = made.observe(StampNs((stamp_ms + 5) * MS))
    made.answered()
    return found


def test_one_observation_per_period_as_soon_as_its_frame_is_there():
    store = FrameStore()
    made = replanner(store)
    used = [
        stamp
        for stamp in range(3000, 4000, 33)
        if isinstance(observe_at(made, store, stamp), Observation)
    ]
    # The sixth frame comes 2 ms before the period ends: within the slack.
    assert np.all(np.diff(used) == 198)


def test_restart_makes_the_next_observation_due_at_once():
    store = FrameStore()
    made = replanner(store)
    assert isinstance(observe_at(made, store, 3000), Observation)
    assert observe_at(made, store, 3033) is None
    made.restart()
    assert isinstance(made.observe(StampNs(3040 * MS)), Observation)
    assert made.observe(StampNs(3041 * MS)) is None


def test_no_observation_is_given_before_the_last_one_is_answered():
    store = FrameStore()
    made = replanner(store)
    made.add_joint_sample(sample(3000 * MS))
    store.put("front", StampNs(3000 * MS), image(1))
    assert isinstance(made.observe(StampNs(3005 * MS)), Observation)
    assert not made.may_be_due(StampNs(9000 * MS))
    made.restart()
    assert made.observe(StampNs(3006 * MS)) is None
    made.answered()
    assert isinstance(made.observe(StampNs(3007 * MS)), Observation)


def test_a_fault_is_told_even_when_nothing_is_due():
    store = FrameStore()
    made = replanner(store)
    assert isinstance(observe_at(made, store, 3000), Observation)
    assert isinstance(made.observe(StampNs(3300 * MS)), StreamFault)


def test_a_clock_that_went_back_does_not_stop_the_policy_for_ever():
    store = FrameStore()
    made = replanner(store)
    assert isinstance(observe_at(made, store, 90_000), Observation)
    found = [observe_at(made, store, stamp) for stamp in range(3000, 4000, 33)]
    assert isinstance(found[0], StreamFault)
    assert sum(isinstance(f, Observation) for f in found) >= 4


def test_a_camera_that_cannot_be_used_is_told_with_its_frame():
    store = FrameStore()
    store.watch(FrameLimits(dark=0.0, spread=0.0))
    made = replanner(store)
    assert isinstance(observe_at(made, store, 3000), Observation)
    assert not made.may_be_due(StampNs(3010 * MS))
    for stamp in (3033, 3066, 3099):
        store.put("front", StampNs(stamp * MS), image(77))
    assert made.may_be_due(StampNs(0))
    found = made.observe(StampNs(3100 * MS))
    assert isinstance(found, StreamFault)
    assert found.problem is Problem.REPEATED
    store.put("front", StampNs(2900 * MS), image(78))
    assert made.may_be_due(StampNs(2900 * MS))
    found = made.observe(StampNs(2905 * MS))
    assert isinstance(found, StreamFault)
    assert found.problem in {Problem.REVERSED, Problem.AHEAD}

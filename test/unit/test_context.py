# SPDX-License-Identifier: Apache-2.0
"""Goals, tasks and the past of the streams in an observation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levine_policy_node.core.alignment import AlignmentLimits, StreamFault
from levine_policy_node.core.context import ContextNeeds
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.observation import JointSample, Observation
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.core.units import StampNs

MS = 1_000_000
LIMITS = AlignmentLimits(0.1, 0.1, 0.01, np.array([True, False]))
PAST = ContextNeeds(past_steps=4, past_cameras=("front",), period_s=0.1)


def sample(stamp_ms: int) -> JointSample:
    return JointSample(StampNs(stamp_ms * MS), np.array([stamp_ms / 1000, 0.0]))


def image(stamp_ms: int) -> np.ndarray:
    return np.full((2, 2, 3), stamp_ms // 33 % 256, dtype=np.uint8)


def streams(needs: ContextNeeds, until_ms: int, store: FrameStore | None = None):
    """Joints at 100 Hz, a camera at 30 Hz, and a replanner that has heard them."""
    store = FrameStore() if store is None else store
    made = Replanner(
        store, ("front", *needs.goals), LIMITS, ReplanOptions("every", 200 * MS, 0), needs
    )
    for stamp in range(0, until_ms + 1, 10):
        made.add_joint_sample(sample(stamp))
    for stamp in range(0, until_ms + 1, 33):
        store.put("front", StampNs(stamp * MS), image(stamp))
    return made, store


def test_the_past_is_what_the_streams_had_then():
    made, _ = streams(PAST, 990)
    found = made.observe(StampNs(995 * MS))
    assert isinstance(found, Observation)
    assert [int(o.stamp_ns) // MS for o in found.past] == [690, 790, 890]
    np.testing.assert_allclose([o.joint_positions[0] for o in found.past], [0.69, 0.79, 0.89])
    # The nearest frames were taken at 693, 792 and 891 ms.
    assert [int(o.images["front"][0, 0, 0]) for o in found.past] == [21, 24, 27]


def test_it_ends_where_nothing_was_measured():
    made, _ = streams(PAST, 165)
    found = made.observe(StampNs(170 * MS))
    assert isinstance(found, Observation)
    assert [int(o.stamp_ns) // MS for o in found.past] == [65]
    alone, _ = streams(PAST, 0)
    first = alone.observe(StampNs(1 * MS))
    assert isinstance(first, Observation)
    assert first.past == ()


def test_it_goes_as_far_back_as_frames_are_kept():
    needs = replace(PAST, past_steps=11)
    short, _ = streams(needs, 2970)
    store = FrameStore()
    store.keep(40)
    long, _ = streams(needs, 2970, store)
    for made, count in ((short, 5), (long, 10)):
        found = made.observe(StampNs(2975 * MS))
        assert isinstance(found, Observation)
        assert len(found.past) == count


def test_a_policy_without_memory_gets_no_past():
    made, _ = streams(ContextNeeds(), 990)
    found = made.observe(StampNs(995 * MS))
    assert isinstance(found, Observation)
    assert found.past == ()


def test_a_goal_is_the_newest_image_however_old():
    made, store = streams(ContextNeeds(goals={"goal": False}), 2970)
    fault = made.observe(StampNs(2975 * MS))
    assert isinstance(fault, StreamFault)
    assert str(fault) == "camera goal: nothing received"
    store.put("goal", StampNs(1), image(66))
    found = made.observe(StampNs(2976 * MS))
    assert isinstance(found, Observation)
    assert set(found.images) == {"front", "goal"}
    assert int(found.stamp_ns) == 2970 * MS


def test_a_goal_may_be_missing():
    made, _ = streams(ContextNeeds(goals={"goal": True}), 2970)
    found = made.observe(StampNs(2975 * MS))
    assert isinstance(found, Observation)
    assert set(found.images) == {"front"}


def test_the_task_goes_into_observations_and_to_the_next_policy():
    made, store = streams(ContextNeeds(), 990)
    made.tell("pick up the cube")
    found = made.observe(StampNs(995 * MS))
    assert isinstance(found, Observation)
    assert found.task == "pick up the cube"
    following = Replanner(store, ("front",), LIMITS, ReplanOptions("every", 200 * MS, 0))
    following.continue_from(made)
    found = following.observe(StampNs(995 * MS))
    assert isinstance(found, Observation)
    assert found.task == "pick up the cube"

# SPDX-License-Identifier: Apache-2.0
"""A recording played back sees what was seen while the arm moved."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.alignment import AlignmentLimits, StreamFault, align
from levine_policy_node.core.history import History
from levine_policy_node.core.observation import Frame, JointSample
from levine_policy_node.core.observation_grid import (
    Arrivals,
    arrivals,
    first_instant,
    instants,
    observed_grid,
)
from levine_policy_node.core.units import StampNs

LIMITS = AlignmentLimits(0.2, 0.1, 0.1, np.array([True, True]))
MS = 1_000_000


@given(
    st.integers(0, 2**60),
    st.integers(0, 10**12),
    st.sampled_from([1.0, 7.0, 10.0, 15.0, 29.97, 30.0, 60.0]),
)
def test_instants_never_drift(first_ns, length_ns, fps):
    length_ns = min(length_ns, int(2000 / fps * 1e9))
    found = instants(first_ns, first_ns + length_ns, fps)
    exact = np.arange(len(found)) * 1e9 / fps
    assert np.all(np.abs((found - first_ns) - exact) <= 1.0)
    assert found[-1] <= first_ns + length_ns + 1
    assert first_ns + len(found) * 1e9 / fps >= first_ns + length_ns - 1


def test_an_empty_span_has_no_instants():
    assert len(instants(10, 9, 30.0)) == 0


def test_a_stream_that_never_comes_is_no_beginning():
    some, none = Arrivals(np.array([5]), np.array([4])), Arrivals(np.array([]), np.array([]))
    assert first_instant(some, {"a": none}) is None
    assert first_instant(none, {}) is None


def test_a_recorder_that_was_held_up_does_not_make_messages_late():
    stamps = np.arange(0, 2000, 20) * MS
    received = stamps + 3 * MS
    received[40:60] = 1500 * MS  # it came to them late, all at once
    received = np.maximum.accumulate(received)
    found = arrivals(received, stamps)
    assert found.received_ns.tolist() == (stamps + 3 * MS).tolist()


def test_no_message_counts_as_received_before_the_recorder_could_tell_the_order():
    found = arrivals(np.array([10, 20, 30]), np.array([9, 1, 29]))
    assert found.received_ns.tolist() == [10, 10, 30]


def test_it_begins_between_two_frames():
    joints = Arrivals(np.arange(0, 1000, 20) * MS, np.arange(0, 1000, 20) * MS)
    camera = Arrivals(np.arange(100, 1000, 40) * MS, np.arange(80, 980, 40) * MS)
    assert first_instant(joints, {"a": camera}) == 120 * MS


streams = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), min_size=3, max_size=40)


def stream(gaps) -> Arrivals:
    """Stamps with these gaps, each received later by its delay, in order."""
    stamps = np.cumsum([gap for gap, _ in gaps]) * MS
    received = np.maximum.accumulate(stamps + np.array([delay for _, delay in gaps]) * MS)
    return Arrivals(received, stamps)


@settings(max_examples=40)
@given(streams, streams, streams, st.integers(0, 2000), st.integers(1, 100))
def test_each_observation_is_the_one_that_align_gives_then(joint_gaps, front, wrist, at, every):
    joints, cameras = stream(joint_gaps), {"front": stream(front), "wrist": stream(wrist)}
    states = [
        JointSample(StampNs(int(t)), np.array([t / MS, k]), np.array([k, 0.0]))
        for k, t in enumerate(joints.stamp_ns)
    ]
    times = np.arange(at, at + 20 * every, every) * MS
    grid = observed_grid(times, joints.received_ns, states, cameras, LIMITS)
    assert len(grid.now_ns) + sum(grid.unseen.values()) == len(times)
    row = 0
    for now in times:
        known: History[JointSample] = History()
        for state, received in zip(states, joints.received_ns, strict=True):
            known = known.extended(state, 256) if received <= now else known
        frames = {}
        for name, camera in cameras.items():
            frames[name] = History()
            for k, (received, stamp) in enumerate(
                zip(camera.received_ns, camera.stamp_ns, strict=True)
            ):
                if received <= now:
                    pixels = np.full((1, 1, 3), k, np.uint8)
                    frames[name] = frames[name].extended(Frame(StampNs(int(stamp)), pixels), 16)
        wanted = align(StampNs(int(now)), frames, known, LIMITS)
        if isinstance(wanted, StreamFault):
            continue
        assert grid.now_ns[row] == now
        assert grid.stamp_ns[row] == wanted.stamp_ns
        np.testing.assert_array_equal(grid.positions[row], wanted.joint_positions)
        for name, pixels in wanted.images.items():
            assert grid.frames[name][row] == pixels[0, 0, 0]
        row += 1
    assert row == len(grid.now_ns)

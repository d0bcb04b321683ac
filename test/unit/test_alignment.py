# SPDX-License-Identifier: Apache-2.0
"""Alignment: an observation of one instant, or the reason there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.alignment import (
    AlignmentLimits,
    Problem,
    StreamFault,
    align,
    joint_samples,
    joint_state_at,
    reference_time,
)
from levine_policy_node.core.history import SETTLING_SAMPLES, History
from levine_policy_node.core.observation import Frame, JointSample, Observation
from levine_policy_node.core.units import StampNs

MS = 1_000_000
NOW = StampNs(10_000 * MS)
LIMITS = AlignmentLimits(
    camera_max_age_s=0.2,
    joint_max_age_s=0.1,
    frozen_motion_rad=0.1,
    arm=np.array([True, False]),
)


def history(samples, capacity=64):
    result = History()
    for sample in samples:
        result = result.extended(sample, capacity)
    return result


def frames(*ages_ms, repeats=None):
    """Frames of these ages; each pixel value is the age, so that a frame can be told."""
    return history(
        Frame(
            StampNs(NOW - age * MS),
            np.full((2, 2, 3), age % 256, dtype=np.uint8),
            0 if repeats is None else repeats[i],
        )
        for i, age in enumerate(ages_ms)
    )


def joints(*ages_ms, velocities=True, speed=1.0):
    """Joint states of an arm whose first joint is at minus its age in seconds."""
    return history(
        JointSample(
            StampNs(NOW - round(age * MS)),
            np.array([-age / 1000.0 * speed, 5.0]),
            np.array([speed, 0.0]) if velocities else None,
        )
        for age in ages_ms
    )


STATES = joints(*range(400, -1, -10))


def test_reference_is_the_oldest_of_the_newest_frames():
    cameras = {"a": frames(70, 37, 4), "b": frames(90, 57, 24)}
    found = align(NOW, cameras, STATES, LIMITS)
    assert isinstance(found, Observation)
    assert found.stamp_ns == NOW - 24 * MS
    assert found.images["b"][0, 0, 0] == 24
    # 37 is 13 from the reference, 4 is 20.
    assert found.images["a"][0, 0, 0] == 37
    np.testing.assert_allclose(found.joint_positions, [-0.024, 5.0], atol=1e-9)
    np.testing.assert_allclose(found.joint_velocities, [1.0, 0.0])


def test_without_cameras_the_newest_joint_state_is_the_observation():
    found = align(NOW, {}, STATES, LIMITS)
    assert isinstance(found, Observation)
    assert found.stamp_ns == NOW
    assert dict(found.images) == {}


@pytest.mark.parametrize(
    ("cameras", "states", "stream", "problem"),
    [
        ({"a": frames(5), "b": History()}, STATES, "camera b", Problem.MISSING),
        ({"a": frames(5)}, History(), "joint_states", Problem.MISSING),
        ({"a": frames(300)}, STATES, "camera a", Problem.STALE),
        ({"a": frames(5)}, joints(160, 150), "joint_states", Problem.STALE),
        ({"a": frames(-80)}, STATES, "camera a", Problem.AHEAD),
        ({"a": frames(5), "b": frames(50)}, joints(400, 300, 50), "joint_states", None),
        # The other camera has just come up: no frame of it near the reference.
        ({"a": frames(190), "b": frames(-20)}, STATES, "camera b", Problem.APART),
        ({"a": frames(190)}, joints(100, 90, 80), "joint_states", Problem.APART),
    ],
)
def test_a_bad_stream_is_named(cameras, states, stream, problem):
    found = align(NOW, cameras, states, LIMITS)
    if problem is None:
        assert isinstance(found, Observation)
        return
    assert isinstance(found, StreamFault)
    assert (found.stream, found.problem) == (stream, problem)
    assert stream in str(found)
    assert "\n" not in str(found)


def test_a_fault_says_age_and_limit():
    found = align(NOW, {"a": frames(300)}, STATES, LIMITS)
    assert str(found) == "camera a: too old (0.300 s, limit 0.200 s)"


def test_stamps_that_went_back_are_a_fault_until_the_stream_settles():
    reversed_frames = frames(10).extended(
        Frame(StampNs(NOW - 50 * MS), frames(1).newest.pixels), 8
    )
    assert len(reversed_frames.samples) == 1
    for age in range(49, 49 - SETTLING_SAMPLES + 1, -1):
        found = align(NOW, {"a": reversed_frames}, STATES, LIMITS)
        assert isinstance(found, StreamFault)
        assert found.problem is Problem.REVERSED
        pixels = reversed_frames.newest.pixels
        reversed_frames = reversed_frames.extended(Frame(StampNs(NOW - age * MS), pixels), 8)
    assert isinstance(align(NOW, {"a": reversed_frames}, STATES, LIMITS), Observation)


def test_a_camera_that_repeats_itself_while_the_arm_moves_is_frozen():
    repeating = frames(300, 200, 100, 5, repeats=[0, 1, 2, 3])
    found = align(NOW, {"a": repeating}, STATES, LIMITS)
    assert isinstance(found, StreamFault)
    assert found.problem is Problem.FROZEN


def test_a_still_scene_is_not_frozen():
    repeating = frames(300, 200, 100, 5, repeats=[0, 1, 2, 3])
    still = joints(*range(400, -1, -10), speed=0.0)
    assert isinstance(align(NOW, {"a": repeating}, still, LIMITS), Observation)


def test_two_equal_frames_are_not_frozen():
    repeating = frames(300, 200, 100, 5, repeats=[0, 0, 0, 1])
    assert isinstance(align(NOW, {"a": repeating}, STATES, LIMITS), Observation)


def interpolate(states, stamp_ns, max_gap_s):
    samples = joint_samples(states, stamp_ns, max_gap_s)
    return samples if isinstance(samples, StreamFault) else joint_state_at(stamp_ns, samples)


@given(st.integers(0, 400 * MS))
def test_interpolation_is_exact_on_a_straight_line(age_ns):
    found = interpolate(STATES, StampNs(NOW - age_ns), 0.1)
    assert isinstance(found, JointSample)
    np.testing.assert_allclose(found.positions, [-age_ns / 1e9, 5.0], atol=1e-9)


@given(st.floats(-50.0, 50.0))
def test_extrapolation_goes_on_for_at_most_one_period(ahead_ms):
    stamp = StampNs(NOW + round(ahead_ms * MS))
    found = interpolate(STATES, stamp, 0.1)
    if ahead_ms > 10.0:
        assert isinstance(found, StreamFault)
        assert found.problem is Problem.APART
    else:
        assert isinstance(found, JointSample)
        np.testing.assert_allclose(found.positions[0], ahead_ms / 1e3, atol=1e-8)


def test_before_the_oldest_sample_it_is_held_for_one_period_only():
    oldest = NOW - 400 * MS
    held = interpolate(STATES, StampNs(oldest - 9 * MS), 0.1)
    assert isinstance(held, JointSample)
    np.testing.assert_allclose(held.positions[0], -0.4)
    assert isinstance(interpolate(STATES, StampNs(oldest - 11 * MS), 0.1), StreamFault)


def test_a_single_joint_state_is_not_stretched_in_time():
    single = joints(0)
    assert isinstance(interpolate(single, NOW, 0.1), JointSample)
    assert isinstance(interpolate(single, StampNs(NOW + 1), 0.1), StreamFault)


def test_a_gap_in_the_joint_states_is_not_bridged():
    gap = joints(300, 290, 20, 10, 0)
    assert isinstance(interpolate(gap, StampNs(NOW - 100 * MS), 0.1), StreamFault)
    assert isinstance(interpolate(gap, StampNs(NOW - 15 * MS), 0.1), JointSample)


def test_velocities_are_left_out_when_not_measured():
    found = align(NOW, {}, joints(20, 10, 0, velocities=False), LIMITS)
    assert isinstance(found, Observation)
    assert found.joint_velocities is None


@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=12),
    st.lists(st.integers(0, 500), min_size=1, max_size=12),
)
def test_an_observation_never_has_a_frame_beyond_its_age(first, second):
    cameras = {
        "a": frames(*sorted(set(first), reverse=True)),
        "b": frames(*sorted(set(second), reverse=True)),
    }
    found = align(NOW, cameras, joints(*range(600, -1, -10)), LIMITS)
    if isinstance(found, StreamFault):
        assert found.problem in {Problem.STALE, Problem.APART}
        return
    assert found.stamp_ns == reference_time(cameras, STATES)
    for name, camera in cameras.items():
        used = [f for f in camera.samples if f.pixels is found.images[name]]
        distances = [abs(f.stamp_ns - found.stamp_ns) for f in camera.samples]
        assert abs(used[0].stamp_ns - found.stamp_ns) == min(distances) <= 200 * MS
        assert NOW - camera.newest.stamp_ns <= 200 * MS

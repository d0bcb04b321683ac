# SPDX-License-Identifier: Apache-2.0
"""Chunks on absolute time: seams are C2 and within the limits, late rows are never replayed."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions, merge_chunk
from levine_policy_node.core.units import StampNs, nanoseconds

NAMES = ("a", "b")
NOW = StampNs(5_000_000_000)
LIMITS = JointLimits(
    NAMES,
    np.array([-3.0, -3.0]),
    np.array([3.0, 3.0]),
    np.array([2.0, 2.0]),
    np.array([8.0, 8.0]),
    np.array([80.0, 80.0]),
)


def sine_chunk(observed_s, rows=16, dt=0.1, noise=0.0, seed=0):
    times = observed_s + dt * (1 + np.arange(rows))
    target = np.stack([0.5 * np.sin(1.5 * times), 0.3 * np.cos(times)], axis=1)
    target += np.random.default_rng(seed).normal(0, noise, target.shape)
    return ActionChunk(NAMES, StampNs(nanoseconds(observed_s)), dt, target, "policy:t@0#1")


@given(
    st.floats(0.0, 0.4),
    st.floats(0.0, 0.002),
    st.floats(0.08, 0.4),
    st.integers(0, 1000),
)
# Here a row is due two microseconds from a seam, and rounding must not become its jerk.
@example(latency=0.019997987368128106, noise=0.0, period=0.08, seed=0)
@settings(max_examples=60, deadline=None)
def test_a_run_of_chunks_is_one_c2_curve_inside_the_limits(latency, noise, period, seed):
    timeline, now = None, 5.0
    for k in range(6):
        chunk = sine_chunk(now - latency, noise=noise, seed=seed + k)
        merged = merge_chunk(timeline, chunk, StampNs(nanoseconds(now)), LIMITS, MergeOptions())
        assert merged is not None
        if timeline is not None:
            for offset in (0.0, 0.01, 0.03):
                at = StampNs(nanoseconds(now + offset))
                before, after = timeline.sample(at), merged.timeline.sample(at)
                np.testing.assert_allclose(after.position, before.position, atol=1e-6)
                np.testing.assert_allclose(after.velocity, before.velocity, atol=1e-4)
                np.testing.assert_allclose(after.acceleration, before.acceleration, atol=1e-2)
        peaks = merged.timeline.peaks()
        if merged.stretch < 4.0:
            assert np.all(peaks.velocity <= LIMITS.velocity * (1 + 1e-6))
            assert np.all(peaks.acceleration <= LIMITS.acceleration * (1 + 1e-6))
            assert np.all(peaks.jerk <= LIMITS.jerk * (1 + 1e-6))
        timeline, now = merged.timeline, now + period


@given(st.floats(0.0, 1.2))
def test_late_rows_are_dropped_and_the_rest_keep_their_time(latency):
    chunk = sine_chunk(5.0 - latency)
    merged = merge_chunk(None, chunk, NOW, LIMITS, MergeOptions())
    assert merged is not None
    seam = NOW + nanoseconds(MergeOptions().lead_s)
    assert merged.dropped_rows == sum(chunk.row_stamp(i) <= seam for i in range(16))
    assert merged.stretch == 1.0
    for i in range(merged.dropped_rows, 15):
        found = merged.timeline.sample(chunk.row_stamp(i)).position
        np.testing.assert_allclose(found, chunk.positions[i], atol=1e-6)


def test_a_chunk_that_is_all_past_gives_nothing():
    assert merge_chunk(None, sine_chunk(3.0), NOW, LIMITS, MergeOptions()) is None


def test_rows_are_sent_early_by_the_actuation_delay():
    chunk = sine_chunk(5.0)
    merged = merge_chunk(None, chunk, NOW, LIMITS, MergeOptions(actuation_delay_s=0.08))
    early = StampNs(chunk.row_stamp(5) - nanoseconds(0.08))
    np.testing.assert_allclose(merged.timeline.sample(early).position, chunk.positions[5])


def test_a_chunk_too_fast_is_slowed_and_keeps_its_path():
    rows = np.stack([np.linspace(0.4, 6.4, 16), np.zeros(16)], axis=1)  # 4 rad/s
    chunk = ActionChunk(NAMES, NOW, 0.1, rows)
    merged = merge_chunk(None, chunk, NOW, LIMITS, MergeOptions())
    assert merged.stretch >= 2.0
    assert np.all(merged.timeline.peaks().velocity <= LIMITS.velocity * (1 + 1e-6))
    np.testing.assert_allclose(merged.timeline.positions[-1], rows[-1])


def test_one_row_is_a_target_to_hold():
    chunk = ActionChunk(NAMES, NOW, 0.1, np.array([[0.2, 0.1]]))
    merged = merge_chunk(None, chunk, NOW, LIMITS, MergeOptions())
    np.testing.assert_allclose(merged.timeline.positions[-1], [0.2, 0.1])


def test_a_previous_timeline_that_has_ended_is_not_continued():
    old = merge_chunk(None, sine_chunk(3.0), StampNs(3_000_000_000), LIMITS, MergeOptions())
    merged = merge_chunk(old.timeline, sine_chunk(5.0), NOW, LIMITS, MergeOptions())
    assert merged.timeline.start_ns == NOW + nanoseconds(MergeOptions().lead_s)


def test_joint_order_and_source_are_kept():
    merged = merge_chunk(None, sine_chunk(5.0), NOW, LIMITS, MergeOptions())
    assert merged.timeline.joint_names == NAMES
    assert merged.timeline.source == "policy:t@0#1"
    assert merged.timeline.end_ns == pytest.approx(sine_chunk(5.0).row_stamp(15), abs=2)

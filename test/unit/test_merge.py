# SPDX-License-Identifier: Apache-2.0
"""Chunks on absolute time: seams are C2 and within the limits, late rows are never replayed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits, first_excess
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
# Here a knot of what is played lies 0.7 ms after the present, where the next begins.
@example(latency=0.0, noise=0.001953125, period=0.24967131145830845, seed=0)
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
                np.testing.assert_allclose(after.position, before.position, atol=1e-9)
                np.testing.assert_allclose(after.velocity, before.velocity, atol=1e-7)
                np.testing.assert_allclose(after.acceleration, before.acceleration, atol=1e-4)
        if merged.fits:
            peaks = merged.timeline.peaks()
            assert np.all(peaks.velocity <= LIMITS.velocity * (1 + 1e-6))
            assert np.all(peaks.acceleration <= LIMITS.acceleration * (1 + 1e-6))
            assert np.all(peaks.jerk <= LIMITS.jerk * (1 + 1e-6))
        timeline, now = merged.timeline, now + period


def test_chunks_that_agree_nearly_always_fit():
    """A motion at its jerk limit may leave no room for the next seam; that must stay rare."""
    unfit = 0
    for seed in range(40):
        timeline, now = None, 5.0
        for k in range(6):
            chunk = sine_chunk(now - 0.01 * seed, noise=0.002, seed=100 * seed + k)
            merged = merge_chunk(
                timeline, chunk, StampNs(nanoseconds(now)), LIMITS, MergeOptions()
            )
            unfit += not merged.fits
            timeline, now = merged.timeline, now + 0.1 + 0.005 * seed
    assert unfit <= 2


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


@given(st.integers(0, 1000), st.floats(0.0, 0.5))
@settings(deadline=None)
def test_a_chunk_too_fast_keeps_its_path_and_all_joints_are_slowed_alike(seed, latency):
    rng = np.random.default_rng(seed)
    rows = np.cumsum(rng.normal(0.0, 0.25, (16, 2)), axis=0).clip(-2.0, 2.0)
    chunk = ActionChunk(NAMES, StampNs(NOW - nanoseconds(latency)), 0.1, rows)
    merged = merge_chunk(None, chunk, NOW, LIMITS, MergeOptions())
    free = merge_chunk(None, chunk, NOW, LIMITS.scaled(1e6), MergeOptions())
    assert free.stretch == 1.0
    assert merged.stretch > 1.0
    # Where one joint is, the other is where it would have been then.
    for share in np.linspace(0.0, 1.0, 50):
        slow = merged.timeline.sample_s(share * merged.timeline.duration_s)
        quick = free.timeline.sample_s(share * free.timeline.duration_s)
        np.testing.assert_allclose(slow.position, quick.position, atol=1e-9)
        np.testing.assert_allclose(
            slow.velocity * merged.stretch, quick.velocity, rtol=1e-6, atol=1e-6
        )
    assert merged.timeline.duration_s == pytest.approx(merged.stretch * free.timeline.duration_s)
    if merged.stretch < 4.0:
        # No slower than it must be.
        assert merged.fits
        assert first_excess(merged.timeline, LIMITS) is None
        peaks = merged.timeline.peaks()
        kinds = (peaks.velocity / LIMITS.velocity, peaks.acceleration / LIMITS.acceleration)
        most = np.max([*kinds, peaks.jerk / LIMITS.jerk])
        assert most == pytest.approx(1.0, rel=4e-3)


def test_a_chunk_slowed_while_the_arm_moves_says_by_how_much():
    first = merge_chunk(None, sine_chunk(4.9), NOW, LIMITS, MergeOptions())
    here = first.timeline.sample(StampNs(NOW + 260_000_000)).position
    rows = here + np.linspace(0.0, 1.0, 16)[:, None] * [-3.4, 0.5]
    chunk = ActionChunk(NAMES, StampNs(NOW + 100_000_000), 0.1, rows)
    merged = merge_chunk(first.timeline, chunk, StampNs(NOW + 200_000_000), LIMITS, MergeOptions())
    assert merged.stretch > 1.1
    assert merged.fits
    assert first_excess(merged.timeline, LIMITS) is None


@pytest.mark.parametrize("dt", [0.02, 0.1])
def test_without_smoothing_the_rows_are_the_knots_bit_for_bit(dt):
    limits = LIMITS.scaled(1e6)
    chunk = sine_chunk(5.0 - 2.5 * dt, dt=dt, noise=0.05)
    options = MergeOptions(smoothing_s=0.0, lead_s=0.0)
    merged = merge_chunk(None, chunk, NOW, limits, options)
    assert np.array_equal(merged.timeline.positions[1:], chunk.positions[2:])
    smooth = merge_chunk(None, chunk, NOW, limits, replace(options, smoothing_s=0.06))
    assert not np.array_equal(smooth.timeline.positions[1:], chunk.positions[2:])


@given(st.integers(0, 1000), st.sampled_from([0.2, 0.8]))
@settings(deadline=None, max_examples=30)
def test_noise_in_the_rows_does_not_carry_the_arm_away(seed, blend_s):
    """Two noisy chunks about the same pose: what is played stays between them."""
    options, limits = MergeOptions(blend_s=blend_s), LIMITS.scaled(1e4)
    timeline, now = None, 5.0
    for k in range(6):
        rng = np.random.default_rng([seed, k])
        rows = rng.normal(0.0, 0.002, (100, 2))
        chunk = ActionChunk(NAMES, StampNs(nanoseconds(now - 0.1)), 0.02, rows)
        merged = merge_chunk(timeline, chunk, StampNs(nanoseconds(now)), limits, options)
        timeline, now = merged.timeline, now + 0.15
        at = np.linspace(0.0, timeline.duration_s, 400)
        # A fade of the velocity gap went to 40 mrad here.
        assert np.abs(timeline.sample_each(at).position).max() < 0.014


@given(st.integers(0, 1000), st.floats(0.03, 0.4), st.sampled_from([0.0, 1.0]))
@settings(deadline=None)
def test_a_gripper_that_changes_its_mind_never_leaves_its_range(seed, period, closed):
    """Every chunk says something else about when to switch; the ends are the joint limits."""
    limits = JointLimits(("g",), *(np.array([x]) for x in (0.0, 1.0, 10.0, 200.0, 9000.0)))
    options = MergeOptions(discrete=("g",), lead_s=0.02)
    rng = np.random.default_rng(seed)
    timeline, now = None, 5.0
    for _ in range(8):
        times = now - 0.1 + 0.04 * np.arange(1, 31)
        switch = now + rng.uniform(-0.1, 0.4)
        rows = np.where(times < switch, 1.0 - closed, closed)[:, None]
        chunk = ActionChunk(("g",), StampNs(nanoseconds(now - 0.1)), 0.04, rows)
        merged = merge_chunk(timeline, chunk, StampNs(nanoseconds(now)), limits, options)
        assert merged.fits
        assert first_excess(merged.timeline, limits) is None
        timeline, now = merged.timeline, now + period


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

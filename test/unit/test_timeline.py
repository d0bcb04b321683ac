# SPDX-License-Identifier: Apache-2.0
"""Timeline: exact interpolation, windows and peaks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.timeline_cuts import (
    cut_after,
    cut_before,
    knots_ns,
    without_short_segments,
)
from levine_policy_node.core.units import StampNs, nanoseconds

START = StampNs(1_000_000_000_000)


@st.composite
def timelines(draw):
    joints = draw(st.integers(1, 4))
    knots = draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.005, 0.3, knots - 1))])
    p, v, a = (rng.normal(0, scale, (knots, joints)) for scale in (0.3, 1.0, 5.0))
    return Timeline(tuple(f"j{i}" for i in range(joints)), START, times, p, v, a)


@given(timelines())
def test_knots_are_reproduced(timeline):
    for k, offset in enumerate(timeline.times_s):
        point = timeline.sample_s(float(offset))
        np.testing.assert_allclose(point.position, timeline.positions[k], atol=1e-9)
        np.testing.assert_allclose(point.velocity, timeline.velocities[k], atol=1e-7)
        np.testing.assert_allclose(point.acceleration, timeline.accelerations[k], atol=1e-5)


@given(timelines(), st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0, 1))
def test_a_window_does_not_change_the_path(timeline, one, other, where):
    begin, end = sorted((one, other))
    if (end - begin) * timeline.duration_s < 1e-3:
        return
    begin_ns = StampNs(START + nanoseconds(begin * timeline.duration_s))
    end_ns = StampNs(START + nanoseconds(end * timeline.duration_s))
    window = timeline.window(begin_ns, end_ns)
    at = StampNs(begin_ns + int(where * (end_ns - begin_ns)))
    expected, found = timeline.sample(at), window.sample(at)
    np.testing.assert_allclose(found.position, expected.position, atol=1e-6)
    np.testing.assert_allclose(found.velocity, expected.velocity, atol=1e-4)


@given(timelines())
def test_peaks_bound_every_sample_and_are_reached(timeline):
    peaks = timeline.peaks()
    offsets = np.linspace(0, timeline.duration_s, 801)
    points = [timeline.sample_s(float(t)) for t in offsets]
    velocity = np.abs([p.velocity for p in points]).max(axis=0)
    acceleration = np.abs([p.acceleration for p in points]).max(axis=0)
    assert np.all(velocity <= peaks.velocity * (1 + 1e-6) + 1e-9)
    assert np.all(acceleration <= peaks.acceleration * (1 + 1e-6) + 1e-9)
    assert np.all(velocity >= 0.7 * peaks.velocity)


def test_constant_jerk_segment_has_that_jerk():
    jerk, t = 80.0, 0.1
    end = np.array([[jerk * t**3 / 6]]), np.array([[jerk * t**2 / 2]]), np.array([[jerk * t]])
    zero = np.zeros((1, 1))
    timeline = Timeline(("j",), START, np.array([0.0, t]), *(np.vstack([zero, e]) for e in end))
    assert timeline.peaks().jerk[0] == pytest.approx(jerk, rel=1e-9)
    assert timeline.peaks().acceleration[0] == pytest.approx(jerk * t, rel=1e-9)


@given(timelines())
def test_the_end_in_whole_nanoseconds_is_the_last_knot(timeline):
    last = timeline.sample(StampNs(timeline.end_ns))
    assert np.array_equal(last.position, timeline.positions[-1])
    assert np.array_equal(last.velocity, timeline.velocities[-1])
    assert np.array_equal(last.acceleration, timeline.accelerations[-1])


def test_nothing_is_extrapolated():
    one = np.ones((2, 1))
    timeline = Timeline(("j",), START, np.array([0.0, 1.0]), one, one, one)
    past_end = timeline.sample(StampNs(START + 2_000_000_000))
    assert past_end.position[0] == 1.0
    assert past_end.velocity[0] == 0.0
    assert not timeline.covers(StampNs(START - 1))


def test_a_single_knot_is_itself_at_any_time():
    one = Timeline(("j",), START, np.zeros(1), *(np.full((1, 1), x) for x in (0.5, 0.2, -0.3)))
    several = one.sample_each(np.zeros(3))
    assert np.array_equal(several.position, np.full((3, 1), 0.5))
    assert np.array_equal(several.velocity, np.full((3, 1), 0.2))
    assert np.array_equal(several.acceleration, np.full((3, 1), -0.3))
    peaks = one.peaks()
    assert (peaks.velocity[0], peaks.acceleration[0], peaks.jerk[0]) == (0.2, 0.3, 0.0)


def test_what_is_cut_or_joined_wrongly_is_refused():
    one = np.ones((2, 1))
    timeline = Timeline(("j",), START, np.array([0.0, 1.0]), one, one, one)
    end = StampNs(timeline.end_ns)
    for begin, until in ((StampNs(START - 1), end), (START, StampNs(end + 1)), (end, end)):
        with pytest.raises(ValueError, match="window lies outside"):
            timeline.window(begin, until)
    late = Timeline(("j",), StampNs(end + 1_001), np.array([0.0, 1.0]), one, one, one)
    other = Timeline(("k",), end, np.array([0.0, 1.0]), one, one, one)
    for part in (late, other):
        with pytest.raises(ValueError, match="does not start where this one ends"):
            timeline.then(part)


@given(timelines(), timelines())
def test_then_keeps_both_parts(first, second):
    if first.joint_names != second.joint_names:
        return
    moved = Timeline(
        second.joint_names,
        StampNs(first.end_ns),
        second.times_s,
        second.positions,
        second.velocities,
        second.accelerations,
    )
    joined = first.then(moved)
    assert joined.duration_s == pytest.approx(first.duration_s + second.duration_s)
    middle = joined.sample_s(first.duration_s + second.duration_s / 2)
    expected = second.sample_s(second.duration_s / 2)
    np.testing.assert_allclose(middle.position, expected.position, atol=1e-6)


@pytest.mark.parametrize(
    ("times", "rows"),
    [([0.0, 0.0], 2), ([0.1, 0.2], 2), ([0.0, 0.2], 3), ([], 0)],
    ids=["not increasing", "not from zero", "rows and times differ", "empty"],
)
def test_bad_knots_are_refused(times, rows):
    values = np.zeros((rows, 1))
    with pytest.raises(ValueError, match="timeline"):
        Timeline(("j",), START, np.array(times), values, values, values)


@given(
    st.lists(st.integers(1, 5_000), min_size=1, max_size=30),
    st.floats(0.0, 1.0),
    st.integers(1, 2_000),
)
def test_a_cut_lies_on_a_knot_or_away_from_any_and_not_far(spans_us, share, gap_us):
    times_s = np.concatenate([[0.0], np.cumsum(spans_us)]) / 1e6
    flat = np.zeros((len(times_s), 1))
    timeline = Timeline(("j",), StampNs(7_000_000_000), times_s, flat, flat, flat)
    knots, gap_ns = knots_ns(timeline), 1_000 * gap_us
    at = StampNs(round(knots[0] + share * (int(knots[-1]) - int(knots[0]))))
    for cut, sign in (
        (cut_after(timeline, at, gap_ns), 1),
        (cut_before(timeline, at, gap_ns), -1),
    ):
        assert timeline.covers(cut)
        assert 0 <= sign * (cut - at) <= 2 * gap_ns
        nearest = np.abs(knots - cut).min()
        assert nearest == 0 or nearest >= gap_ns


def test_a_cut_on_a_knot_stays_and_one_with_just_enough_room_is_made():
    rows = np.zeros((3, 1))
    line = Timeline(("j",), StampNs(0), np.array([0.0, 0.002, 0.004]), rows, rows, rows)
    gap_ns, half_ns = 1_000_000, 500_000
    for knot_ns in (0, 2_000_000, 4_000_000):
        assert cut_after(line, StampNs(knot_ns), gap_ns) == knot_ns
        assert cut_before(line, StampNs(knot_ns), gap_ns) == knot_ns
    # Between two knots there is room for one cut, right in the middle.
    assert cut_after(line, StampNs(2_000_000 + half_ns), gap_ns) == 3_000_000
    assert cut_before(line, StampNs(4_000_000 - half_ns), gap_ns) == 3_000_000
    assert cut_after(line, StampNs(2_000_000 + half_ns), gap_ns + 1) == 4_000_000
    assert cut_before(line, StampNs(4_000_000 - half_ns), gap_ns + 1) == 2_000_000


def test_knots_are_whole_nanoseconds_however_long_ago_the_clock_began():
    rows, start_ns = np.zeros((2, 1)), 2**60 + 1
    line = Timeline(("j",), StampNs(start_ns), np.array([0.0, 0.3]), rows, rows, rows)
    assert knots_ns(line).tolist() == [start_ns, start_ns + 300_000_000]


def test_inner_knots_that_are_too_near_to_a_neighbour_are_dropped():
    times_s = np.array([0.0, 1.0, 2.0, 2.5, 4.0, 5.5, 6.0]) / 16
    rows = np.arange(7.0)[:, None] + np.array([[0.0, 10.0]])
    line = Timeline(("a", "b"), START, times_s, rows, 2 * rows, 3 * rows, "policy:p@0#1")
    # Exactly as near as may be is near enough.
    fewer, kept = without_short_segments(line, 1 / 16), [0, 1, 2, 4, 6]
    np.testing.assert_array_equal(fewer.times_s, times_s[kept])
    for name in ("positions", "velocities", "accelerations"):
        np.testing.assert_array_equal(getattr(fewer, name), getattr(line, name)[kept])
    assert (fewer.joint_names, fewer.start_ns, fewer.source) == (("a", "b"), START, "policy:p@0#1")
    assert without_short_segments(line, 0.0) is line
    assert without_short_segments(line, 0.5 / 16) is line

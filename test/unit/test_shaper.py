# SPDX-License-Identifier: Apache-2.0
"""Every motion starts in the state it was given, keeps the limits, and ends where it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from levine_policy_node.core import shaper
from levine_policy_node.core.jerk_profile import GRID_NS
from levine_policy_node.core.limits import JointLimits, first_excess
from levine_policy_node.core.plan import Plan, with_brake
from levine_policy_node.core.shaper import brake, is_at_rest, move_to, rejoin
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import SteadyNs, nanoseconds

JOINTS = 6
LIMITS = JointLimits(
    tuple("abcdef"),
    np.full(JOINTS, -1.5),
    np.full(JOINTS, 1.7),
    np.full(JOINTS, 2.0),
    np.full(JOINTS, 8.0),
    np.full(JOINTS, 80.0),
)
START = SteadyNs(7_000_000_123)

seeds = st.integers(0, 2**32 - 1)


def viable_state(rng: np.random.Generator, spread: float) -> JointPoint:
    """A state from which the velocity limit can be kept: |v + a|a|/2j| <= v_max."""
    scale = rng.uniform(0.0, 1.0)
    acceleration = rng.uniform(-8.0, 8.0, JOINTS) * scale
    most = 1.98 - acceleration**2 / 158.0
    return JointPoint(
        rng.uniform(-spread, spread, JOINTS),
        rng.uniform(-1.0, 1.0, JOINTS) * most * scale,
        acceleration,
    )


def starts_in(motion: Timeline[SteadyNs], state: JointPoint, rounding: float = 0.0) -> bool:
    first = motion.sample_s(0.0)
    return all(
        np.allclose(getattr(first, k), getattr(state, k), rtol=0.0, atol=rounding)
        for k in ("position", "velocity", "acceleration")
    )


def assert_sendable(motion: Timeline[SteadyNs]) -> None:
    assert first_excess(motion, LIMITS) is None
    peaks = motion.peaks()
    assert np.all(peaks.velocity <= 2.0 * (1 + 1e-6))
    assert np.all(peaks.acceleration <= 8.0 * (1 + 1e-6))
    assert np.all(peaks.jerk <= 80.0 * (1 + 1e-3))
    assert np.min(np.diff(motion.times_s)) * 1e9 >= GRID_NS - 1
    # Knot times are whole nanoseconds, so a message carries them unchanged.
    assert np.allclose(motion.times_s * 1e9, np.rint(motion.times_s * 1e9), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=80)
@given(seeds)
def test_brake_comes_to_rest_within_the_limits(seed):
    state = viable_state(np.random.default_rng(seed), 0.5)
    stop = brake(state, LIMITS, START)
    assert stop is not None
    assert starts_in(stop, state)
    assert is_at_rest(stop.sample_s(stop.duration_s))
    assert_sendable(stop)
    # Full speed is lost in v/a + a/j, plus what a wrong initial acceleration costs twice over.
    assert stop.duration_s <= 2.0 / 8.0 + 3.5 * 8.0 / 80.0


def test_brake_is_straight_where_the_state_allows_it():
    direction = np.array([1.0, -0.5, 0.25, 0.8, -0.9, 0.1])
    state = JointPoint(np.zeros(JOINTS), 1.5 * direction, np.zeros(JOINTS))
    stop = brake(state, LIMITS, START)
    assert stop is not None
    path = stop.positions / direction
    assert np.allclose(path, path[:, :1], atol=1e-6)


def test_brake_refuses_what_cannot_be_stopped_in_range():
    state = JointPoint(np.full(JOINTS, 1.69), np.full(JOINTS, 1.0), np.zeros(JOINTS))
    assert brake(state, LIMITS, START) is None


def test_one_that_cannot_go_on_straight_stops_as_soon_as_it_can():
    # By itself the first joint needs 0.1125 rad, as long as the others 0.175.
    position, velocity = np.zeros(JOINTS), np.full(JOINTS, 2.0)
    position[0], velocity[0] = 1.7 - 0.125, 1.0
    stop = brake(JointPoint(position, velocity, np.zeros(JOINTS)), LIMITS, START)
    assert stop is not None
    assert stop.positions[-1, 0] == pytest.approx(1.6875, abs=2e-3)
    assert_sendable(stop)


def test_what_rests_stands_for_a_moment_unless_it_is_out_of_range():
    stop = brake(JointPoint.at_rest(np.full(JOINTS, 1.7)), LIMITS, START)
    assert stop is not None
    assert stop.duration_s == pytest.approx(100 * GRID_NS / 1e9)
    assert brake(JointPoint.at_rest(np.full(JOINTS, 1.71)), LIMITS, START) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_give_no_motion(bad):
    state = JointPoint.at_rest(np.zeros(JOINTS))
    moving = JointPoint(np.zeros(JOINTS), np.full(JOINTS, bad), np.zeros(JOINTS))
    assert brake(moving, LIMITS, START) is None
    assert move_to(state, np.full(JOINTS, bad), LIMITS, START) is None


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_move_to_arrives_at_rest(seed):
    rng = np.random.default_rng(seed)
    state, target = viable_state(rng, 0.5), rng.uniform(-1.5, 1.7, JOINTS)
    motion = move_to(state, target, LIMITS, START)
    assert motion is not None
    assert starts_in(motion, state)
    assert np.array_equal(motion.positions[-1], target)
    assert is_at_rest(motion.sample_s(motion.duration_s))
    assert_sendable(motion)


def wave(rng: np.random.Generator, duration_s: float = 1.6) -> Timeline[SteadyNs]:
    """A smooth motion well within the limits, with knots at uneven times."""
    times_s = np.concatenate([[0.0], np.cumsum(rng.uniform(0.02, 0.05, 200))])
    times_s = np.rint(times_s[times_s < duration_s] * 1e9) / 1e9
    amplitude, pulse = rng.uniform(0.05, 0.4, JOINTS), rng.uniform(0.5, 3.0, JOINTS)
    phase = rng.uniform(0.0, 6.0, JOINTS)
    angle = times_s[:, None] * pulse + phase
    return Timeline(
        LIMITS.names,
        SteadyNs(START - nanoseconds(rng.uniform(0.0, 0.3))),
        times_s,
        amplitude * np.sin(angle),
        amplitude * pulse * np.cos(angle),
        -amplitude * pulse**2 * np.sin(angle),
        "policy:wave",
    )


@settings(deadline=None, max_examples=50)
@given(seeds, st.floats(0.0, 0.3))
def test_rejoin_ends_as_the_reference_does(seed, away):
    rng = np.random.default_rng(seed)
    reference = wave(rng)
    assume(first_excess(reference, LIMITS) is None)
    knots = np.rint(reference.times_s * 1e9) + reference.start_ns
    assume(np.min(np.abs(knots - START)) >= GRID_NS)
    here, off = reference.sample(START), viable_state(rng, 1.0)
    state = JointPoint(
        here.position + away * off.position,
        here.velocity + away * off.velocity,
        here.acceleration + away * off.acceleration,
    )
    joined = rejoin(state, reference, START, LIMITS)
    assert joined is not None
    motion = joined.timeline
    assert starts_in(motion, state, rounding=1e-9)
    assert_sendable(motion)
    assert motion.end_ns == reference.end_ns
    for time_ns in range(joined.joined_ns, int(reference.end_ns), nanoseconds(0.013)):
        there, wanted = motion.sample(SteadyNs(time_ns)), reference.sample(SteadyNs(time_ns))
        assert np.allclose(there.position, wanted.position, rtol=0, atol=1e-9)
        assert np.allclose(there.acceleration, wanted.acceleration, rtol=0, atol=1e-5)


def test_a_reference_through_the_state_is_taken_as_it_is():
    reference = wave(np.random.default_rng(3))
    splice = Plan(reference, ((0, "x"),)).splice_time(START)
    joined = rejoin(reference.sample(splice), reference, splice, LIMITS)
    assert joined is not None
    assert joined.joined_ns == splice
    assert np.array_equal(
        joined.timeline.positions[1:], reference.positions[-len(joined.timeline.times_s) + 1 :]
    )


def test_a_reference_too_far_away_is_not_joined():
    reference = wave(np.random.default_rng(4), duration_s=0.5)
    state = JointPoint.at_rest(np.full(JOINTS, 1.6))
    assert rejoin(state, reference, SteadyNs(reference.start_ns + 500_000), LIMITS) is None


def test_a_motion_towards_the_end_of_the_range_is_cut_in_time():
    times_s = np.linspace(0.0, 1.0, 21)
    positions = np.tile((0.8 + 0.88 * times_s)[:, None], (1, JOINTS))
    motion = Timeline(
        LIMITS.names,
        START,
        times_s,
        positions,
        np.full_like(positions, 0.88),
        np.zeros_like(positions),
    )
    assert first_excess(motion, LIMITS) is None
    ended = with_brake(motion, LIMITS, START)
    assert ended is not None
    whole, brake_ns = ended
    assert brake_ns < motion.end_ns
    assert_sendable(whole)
    assert is_at_rest(whole.sample_s(whole.duration_s))


@settings(deadline=None, max_examples=15)
@example(677)
@example(1742)
@given(seeds)
def test_a_joint_with_little_way_to_go_stays_on_it_however_long_the_others_take(seed):
    """Of 2 ms of jerk the grid cut up to a tenth off, which left an acceleration for seconds.

    Of 0.15 ms it left nothing, and the seconds at rest that followed had to make up for it.
    """
    rng = np.random.default_rng(seed)
    quick = replace(LIMITS, acceleration=np.full(JOINTS, 5.0), jerk=np.full(JOINTS, 2500.0))
    begin = rng.uniform(-1.2, 1.2, JOINTS)
    end = begin + rng.uniform(-0.02, 0.02, JOINTS)
    end[0] = -begin[0]
    motion = move_to(JointPoint.at_rest(begin), end, quick, START)
    assert motion is not None
    assert np.all(motion.positions >= np.minimum(begin, end) - 1e-6)
    assert np.all(motion.positions <= np.maximum(begin, end) + 1e-6)


def straight(speed: float = 0.4) -> Timeline[SteadyNs]:
    """All joints at one speed, from half a second before START on for three seconds."""
    times_s = np.array([0.0, 3.0])
    still = np.zeros((2, JOINTS))
    rows = np.tile(-0.5 + speed * (times_s - 0.5)[:, None], (1, JOINTS))
    begin = SteadyNs(START - nanoseconds(0.5))
    return Timeline(LIMITS.names, begin, times_s, rows, still + speed, still, "policy:line")


def beside(reference: Timeline[SteadyNs], off: float) -> JointPoint:
    here = reference.sample(START)
    return JointPoint(here.position + off, here.velocity, here.acceleration)


def test_a_small_difference_fades_by_the_time_that_was_promised():
    reference = straight()
    state = beside(reference, 1e-5)
    fades_ns = [START + nanoseconds(duration_s) for duration_s in shaper._FADES_S]
    assert len(fades_ns) > 1
    assert rejoin(state, reference, START, LIMITS).joined_ns == fades_ns[0]
    for promised_ns in (fades_ns[0] + 7_000_000, fades_ns[1] + 7_000_000):
        joined = rejoin(state, reference, START, LIMITS, promised_ns)
        assert joined.joined_ns == promised_ns
        assert starts_in(joined.timeline, state, rounding=1e-9)
    # What was promised sooner than anything fades, or after the end, is not kept.
    for promised_ns in (fades_ns[0], START + 1_000_000, reference.end_ns, reference.end_ns + 1):
        assert rejoin(state, reference, START, LIMITS, promised_ns).joined_ns == fades_ns[0]


def test_a_difference_that_needs_too_much_jerk_fades_more_slowly():
    reference = straight()
    fades_ns = [START + nanoseconds(duration_s) for duration_s in shaper._FADES_S]
    found = [
        rejoin(beside(reference, off), reference, START, LIMITS).joined_ns
        for off in np.geomspace(1e-5, 0.05, 60)
    ]
    assert [end_ns for end_ns in dict.fromkeys(found) if end_ns in fades_ns] == fades_ns


def test_a_state_that_is_off_by_its_rounding_is_on_the_reference(monkeypatch):
    monkeypatch.setattr(shaper, "_ROUNDING", {"position": 0.25, "velocity": 0.0})
    reference = straight(0.0)
    assert rejoin(beside(reference, 0.25), reference, START, LIMITS).joined_ns == START
    assert rejoin(beside(reference, 0.26), reference, START, LIMITS).joined_ns > START

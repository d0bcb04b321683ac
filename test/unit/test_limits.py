# SPDX-License-Identifier: Apache-2.0
"""No excess is missed, and what is within the limits is not reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.limits import (
    _AT_STOP,
    _AT_STOP_SHARE,
    KINDS,
    TOLERANCE,
    JointLimits,
    excess_segments,
    first_excess,
)
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.robot import load_robot

LIMITS = JointLimits(
    ("a", "b"),
    np.array([-1.0, -0.5]),
    np.array([1.0, 1.5]),
    np.array([2.0, 1.0]),
    np.array([8.0, 6.0]),
    np.array([80.0, 50.0]),
)
START = SteadyNs(5_000_000_000)


def timeline(times_s, points) -> Timeline[SteadyNs]:
    p, v, a = (
        np.array([getattr(x, k) for x in points]) for k in ("position", "velocity", "acceleration")
    )
    return Timeline(LIMITS.names, START, np.array(times_s), p, v, a)


FR3 = load_robot("fr3")


@given(
    st.sampled_from(["position", "velocity", "acceleration"]),
    st.integers(0, 3),
    st.integers(0, 6),
    st.floats(1e20, 1.7e308) | st.floats(-1.7e308, -1e20),
)
def test_numbers_that_are_too_large_to_judge_are_beyond(kind, row, joint, value):
    limits, home = FR3.limits(), JointPoint.at_rest(FR3.home_position())
    arrays = [np.tile(getattr(home, each), (4, 1)) for each in KINDS[:3]]
    arrays[KINDS.index(kind)][row, joint] = value
    motion = Timeline(limits.names, START, 0.1 * np.arange(4), *arrays)
    found = {excess.segment for excess in excess_segments(motion, limits)}
    assert {segment for segment in (row - 1, row) if 0 <= segment <= 2} <= found


def worst_by_sampling(motion: Timeline[SteadyNs], limits: JointLimits) -> float:
    """Largest value/limit, from polynomials solved for and sampled here."""
    worst = 0.0
    centre, half = 0.5 * (limits.lower + limits.upper), 0.5 * (limits.upper - limits.lower)
    for k in range(len(motion.times_s) - 1):
        h = motion.times_s[k + 1] - motion.times_s[k]
        rows = [[t**n for n in range(6)] for t in (0.0, h)]
        rows += [[n * t ** max(n - 1, 0) for n in range(6)] for t in (0.0, h)]
        rows += [[n * (n - 1) * t ** max(n - 2, 0) for n in range(6)] for t in (0.0, h)]
        values = np.vstack(
            [
                motion.positions[k : k + 2],
                motion.velocities[k : k + 2],
                motion.accelerations[k : k + 2],
            ]
        )
        t = np.linspace(0.0, h, 201)
        for j, c in enumerate(np.linalg.solve(np.array(rows), values).T):
            curve = np.polynomial.Polynomial(c)
            worst = max(
                worst,
                np.max(np.abs(curve(t) - centre[j])) / half[j],
                np.max(np.abs(curve.deriv()(t))) / limits.velocity[j],
                np.max(np.abs(curve.deriv(2)(t))) / limits.acceleration[j],
                np.max(np.abs(curve.deriv(3)(t))) / limits.jerk[j],
            )
    return worst


values = st.floats(-1.0, 1.0)


@st.composite
def motions(draw):
    count = draw(st.integers(2, 4))
    spans = draw(st.lists(st.floats(0.05, 0.5), min_size=count - 1, max_size=count - 1))
    scale = draw(st.floats(0.01, 1.0))
    points = [
        JointPoint(
            np.array([0.2, 0.3]) + 0.2 * scale * np.array(draw(st.tuples(values, values))),
            scale * np.array(draw(st.tuples(values, values))),
            4.0 * scale * np.array(draw(st.tuples(values, values))),
        )
        for _ in range(count)
    ]
    return timeline(np.concatenate([[0.0], np.cumsum(spans)]), points)


@settings(deadline=None, max_examples=150)
@given(motions())
def test_excess_agrees_with_dense_sampling(motion):
    worst = worst_by_sampling(motion, LIMITS)
    if first_excess(motion, LIMITS) is None:
        assert worst <= 1.0 + 1e-6
    else:
        # Control points lie on or outside the curve, after five halvings hardly outside.
        assert worst > 0.97


def test_names_kind_joint_and_segment():
    still = JointPoint.at_rest(np.array([0.0, 0.0]))
    far = JointPoint.at_rest(np.array([0.0, 1.6]))
    found = excess_segments(timeline([0.0, 5.0, 10.0, 15.0], [still, still, far, still]), LIMITS)
    assert [e.segment for e in found] == [1, 2]
    assert (found[0].kind, found[0].joint) == ("position", "b")
    assert "b: position 0.1" in str(found[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["positions", "velocities", "accelerations"])
def test_not_finite_is_an_excess(bad, field):
    still = JointPoint.at_rest(np.array([0.0, 0.0]))
    motion = timeline([0.0, 1.0], [still, still])
    getattr(motion, field)[1, 1] = bad
    excess = first_excess(motion, LIMITS)
    assert excess is not None
    assert (excess.kind, excess.joint) == ("finite", "b")


def test_a_single_knot_must_stand_in_range():
    inside = JointPoint.at_rest(np.array([0.0, 0.0]))
    moving = JointPoint(np.zeros(2), np.array([0.1, 0.0]), np.zeros(2))
    outside = JointPoint.at_rest(np.array([0.0, -0.6]))
    assert first_excess(timeline([0.0], [inside]), LIMITS) is None
    assert first_excess(timeline([0.0], [moving]), LIMITS) is not None
    assert first_excess(timeline([0.0], [outside]), LIMITS) is not None


def test_a_limit_may_be_reached_exactly():
    edge = JointPoint.at_rest(np.array([1.0, 1.5]))
    assert first_excess(timeline([0.0, 1.0], [edge, edge]), LIMITS) is None
    assert LIMITS.outside(np.array([1.0, 1.5])) == ""
    at_its_stop = LIMITS.resting(np.array([1.0 + 5e-4, 0.0]))
    assert LIMITS.outside(at_its_stop) == ""
    assert np.array_equal(at_its_stop, [1.0, 0.0])
    beyond = np.array([1.006, np.nan])
    assert np.array_equal(LIMITS.resting(beyond), beyond, equal_nan=True)
    assert "a is at 1.1000" in LIMITS.outside(np.array([1.1, 0.0]))
    assert LIMITS.outside(np.array([np.nan, 0.0])) != ""


def standing(position, velocity=(0.0, 0.0), acceleration=(0.0, 0.0)):
    return timeline(
        [0.0], [JointPoint(*(np.array(x) for x in (position, velocity, acceleration)))]
    )


def test_a_single_knot_is_at_rest_and_in_range_up_to_its_ends():
    for position in ([-1.0, -0.5], [1.0, 1.5], [0.3, 0.2]):
        assert excess_segments(standing(position), LIMITS) == []
    for position, by in (([0.0, 1.6], 0.1), ([0.0, -0.75], 0.25)):
        [found] = excess_segments(standing(position), LIMITS)
        assert (found.segment, found.kind, found.joint) == (0, "position", "b")
        assert (found.value, found.limit) == (pytest.approx(by, rel=1e-4), 0.0)


def test_the_range_of_a_single_knot_has_nothing_to_do_with_how_fast_it_may_be():
    for velocity in (0.1, 50.0):
        limits = replace(LIMITS, velocity=np.full(2, velocity))
        assert excess_segments(standing([0.9, 1.4]), limits) == []
        [found] = excess_segments(standing([0.0, 1.6]), limits)
        assert (found.kind, found.joint) == ("position", "b")


@pytest.mark.parametrize("rates", [((0.0, -1e-9), (0.0, 0.0)), ((0.0, 0.0), (0.0, 1e-9))])
def test_a_single_knot_that_moves_is_beyond(rates):
    [found] = excess_segments(standing([0.0, 0.0], *rates), LIMITS)
    assert (found.segment, found.kind, found.joint) == (0, "velocity", "b")
    # Whatever would cancel out.
    assert excess_segments(standing([0.0, 0.0], (1.0, 0.0), (1.0, 0.0)), LIMITS)


def test_gentler_limits_keep_the_time_to_reach_an_acceleration():
    gentler = LIMITS.gentler(np.array([4.0, 12.0]))
    np.testing.assert_array_equal(gentler.acceleration, [4.0, 6.0])
    np.testing.assert_array_equal(gentler.jerk, [40.0, 50.0])
    np.testing.assert_array_equal(gentler.velocity, LIMITS.velocity)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_single_knot_may_be_beyond_its_range_by_the_tolerance(sign):
    limits = replace(LIMITS, lower=np.array([-1.0, -1.0]), upper=np.array([1.0, 1.0]))
    for share, within in ((1.0, True), (1.01, False)):
        rest = JointPoint.at_rest(np.array([0.0, sign * (1.0 + share * TOLERANCE)]))
        assert (first_excess(timeline([0.0], [rest]), limits) is None) == within


def test_a_motion_that_is_played_slower_may_do_so_much_less():
    limits, factor = FR3.limits(), 0.5
    slow = limits.slowed(factor)
    np.testing.assert_allclose(slow.velocity, limits.velocity / 2)
    np.testing.assert_allclose(slow.acceleration, limits.acceleration / 4)
    np.testing.assert_allclose(slow.jerk, limits.jerk / 8)
    np.testing.assert_array_equal([slow.lower, slow.upper], [limits.lower, limits.upper])
    assert slow.names == limits.names
    at = FR3.home_position()
    for side in ("upwards", "downwards"):
        allowed = getattr(limits.by_position, side)(at)
        np.testing.assert_allclose(getattr(slow.by_position, side)(at), allowed / 2)
    assert replace(limits, by_position=None).slowed(factor).by_position is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_what_is_measured_just_beyond_its_range_rests_at_its_end(sign, scale):
    limits = replace(LIMITS, lower=np.array([-scale, -scale]), upper=np.array([scale, scale]))
    near = min(_AT_STOP_SHARE * 2.0 * scale, _AT_STOP)
    for share, rests in ((0.0, True), (0.999, True), (1.001, False)):
        at = np.array([sign * (scale + share * near), 0.0])
        expected = [sign * scale, 0.0] if rests else at
        np.testing.assert_array_equal(limits.resting(at), expected)
    inside = np.array([sign * 0.9 * scale, 0.0])
    np.testing.assert_array_equal(limits.resting(inside), inside)


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("joint", range(2))
@pytest.mark.parametrize("name", ["positions", "velocities", "accelerations"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_the_segment_that_leads_there(row, joint, name, value):
    rest = JointPoint.at_rest(np.zeros(2))
    motion = timeline(0.1 * np.arange(4), [rest] * 4)
    rows = getattr(motion, name).copy()
    rows[row, joint] = value
    found = first_excess(replace(motion, **{name: rows}), LIMITS)
    assert (found.segment, found.kind, found.joint) == (max(0, row - 1), "finite", "ab"[joint])
    assert np.isnan(found.value)
    assert found.limit == np.inf


def test_an_excess_is_told_as_it_is():
    still = JointPoint(np.array([0.0, 0.5]), np.zeros(2), np.zeros(2))
    fast = replace(still, velocity=np.array([0.0, 1.5]))
    found = first_excess(
        timeline([0.0, 1e-3], [fast, replace(fast, position=np.array([0.0, 0.5015]))]), LIMITS
    )
    assert str(found) == "b: velocity 1.5 beyond 1"
    beyond = JointPoint.at_rest(np.array([-1.25, 0.5]))
    assert str(first_excess(timeline([0.0, 1.0], [beyond, beyond]), LIMITS)) == (
        "a: position 0.25 beyond 0"
    )


def test_limits_times_a_factor_keep_their_range():
    scaled = FR3.limits().scaled(0.5)
    limits = FR3.limits()
    assert scaled.names == limits.names
    np.testing.assert_array_equal([scaled.lower, scaled.upper], [limits.lower, limits.upper])


def test_a_single_knot_that_is_not_finite_is_told_so():
    rest = JointPoint.at_rest(np.array([0.0, np.nan]))
    assert first_excess(timeline([0.0], [rest]), LIMITS).kind == "finite"


@pytest.mark.parametrize("limit", [0.25, 4.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_velocity_may_be_beyond_its_limit_by_the_tolerance(limit, sign):
    limits = replace(
        LIMITS, velocity=np.full(2, limit), lower=np.full(2, -9.0), upper=np.full(2, 9.0)
    )
    room = TOLERANCE * min(limit, 1.0)
    for share, within in ((0.9, True), (1.1, False)):
        speed = sign * (limit + share * room)
        ends = [
            JointPoint(np.array([at * speed, 0.0]), np.array([speed, 0.0]), np.zeros(2))
            for at in (0.0, 1.0)
        ]
        assert (first_excess(timeline([0.0, 1.0], ends), limits) is None) == within

# SPDX-License-Identifier: Apache-2.0
"""Velocity limits that depend on the position: none is missed, and no stop is refused for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from ruckig import ControlInterface, InputParameter, Result, Ruckig, Synchronization, Trajectory

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.curve import curve_through
from levine_policy_node.core.effort_limits import running_away
from levine_policy_node.core.gate import tick_trip, window_trip
from levine_policy_node.core.limits import (
    BY_POSITION,
    JointLimits,
    excess_segments,
    first_excess,
    joints_outside,
)
from levine_policy_node.core.motions import stopped
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.position_based_velocity import BRAKING_SHARE, PositionBasedVelocity
from levine_policy_node.core.reference import usable_part
from levine_policy_node.core.shaper import brake, move_to
from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import StampNs, SteadyNs

# Joints 2, 4 and 5 of a Franka Research 3 (libfranka 0.21.2, rate_limiting.h) at their full
# limits, and a finger without such a limit.
OFFSET = np.array([0.20, 0.30, 0.35])
FACTOR = np.array([5.17, 8.0, 34.0])
LOWEST = np.array([-1.7918, -3.0481, -2.8101])
HIGHEST = np.array([1.7918, -0.1458, 2.8101])
PLAIN = JointLimits(
    ("two", "four", "five", "finger"),
    np.array([-1.76, -3.02, -2.78, 0.0]),
    np.array([1.76, -0.18, 2.78, 0.04]),
    np.array([2.62, 2.62, 5.26, 0.05]),
    np.array([10.0, 10.0, 10.0, 0.5]),
    np.array([5000.0, 5000.0, 5000.0, 10.0]),
)
BY = PositionBasedVelocity(
    np.append(OFFSET, 0.0),
    np.append(0.5 * FACTOR, 1.0),
    np.append(LOWEST, -np.inf),
    np.append(HIGHEST, np.inf),
)
LIMITS = replace(PLAIN, by_position=BY)
START = SteadyNs(7_000_000_000)


def allowed(position, velocity):
    """The formula of rate_limiting.h, joint by joint, for the first three joints."""
    up = np.maximum(0.0, -OFFSET + np.sqrt(np.maximum(0.0, FACTOR * (HIGHEST - position))))
    down = np.maximum(0.0, -OFFSET + np.sqrt(np.maximum(0.0, FACTOR * (position - LOWEST))))
    return np.where(velocity > 0.0, up, down)


def timeline(spans, points) -> Timeline[SteadyNs]:
    kinds = ("position", "velocity", "acceleration")
    p, v, a = (np.array([getattr(x, k) for x in points]) for k in kinds)
    return Timeline(LIMITS.names, START, np.concatenate([[0.0], np.cumsum(spans)]), p, v, a)


def powers(order, u):
    """Rows that evaluate the derivative of a polynomial, lowest power first, at `u` (N,)."""
    n = np.arange(6)
    factor = np.prod([n - k for k in range(order)], axis=0, initial=1.0)
    return np.where(n >= order, factor * u[:, None] ** np.maximum(n - order, 0), 0.0)


ENDS = np.linalg.inv(
    np.vstack([powers(order, np.array([u])) for u in (0.0, 1.0) for order in range(3)])
)
AT = np.array([powers(order, np.linspace(0.0, 1.0, 101)) for order in range(4)])


def dense(motion):
    """Position, velocity, acceleration and jerk (4, N, J), from polynomials solved for here."""
    kinds = np.array([motion.positions, motion.velocities, motion.accelerations])
    found = []
    for k, h in enumerate(np.diff(motion.times_s)):
        scale = (h ** np.arange(3))[:, None]
        coefficients = ENDS @ np.vstack([scale * kinds[:, k], scale * kinds[:, k + 1]])
        found.append(AT @ coefficients / (h ** np.arange(4))[:, None, None])
    return np.concatenate(found, axis=1)


def worst_share(motion):
    """Largest share of the limit where the joint does not brake."""
    p, v, a, j = (kind[:, :3] for kind in dense(motion))
    toward = np.sign(v)
    hard = (toward * a <= -BRAKING_SHARE * PLAIN.acceleration[:3]) | (
        toward * j <= -BRAKING_SHARE * PLAIN.jerk[:3]
    )
    share = np.abs(v) / np.maximum(allowed(p, v), 1e-9)
    return float(np.max(share, where=~hard, initial=0.0))


units = st.floats(-1.0, 1.0)


@st.composite
def states(draw, most=1.0):
    """States that the limits allow, often near the ends of the range."""
    shares = np.array(draw(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4)))
    position = LIMITS.lower + shares * (LIMITS.upper - LIMITS.lower)
    speed = np.array(draw(st.lists(units, min_size=4, max_size=4)))
    largest = np.minimum(
        np.where(speed > 0.0, BY.upwards(position), BY.downwards(position)), PLAIN.velocity
    )
    push = np.array(draw(st.lists(units, min_size=4, max_size=4)))
    return JointPoint(position, most * speed * largest, 0.9 * push * PLAIN.acceleration)


@st.composite
def motions(draw):
    """From one state at which a joint is fast near an end to others near by."""
    begin = draw(states(1.2))
    spans = draw(st.lists(st.floats(0.02, 0.1), min_size=1, max_size=3))
    points = [begin]
    for h in spans:
        last = points[-1]
        push = 3.0 * np.array(draw(st.lists(units, min_size=4, max_size=4)))
        points.append(
            JointPoint(
                last.position + h * last.velocity + h * h * push / 2.0,
                last.velocity + h * push,
                push,
            )
        )
    return timeline(spans, points)


@settings(deadline=None, max_examples=80)
@given(motions())
def test_no_excess_is_missed_and_none_invented(motion):
    plain = {e.segment for e in excess_segments(motion, PLAIN)}
    found = [e for e in excess_segments(motion, LIMITS) if e.kind == BY_POSITION]
    worst = worst_share(motion)
    if worst > 1.0 + 1e-6:
        assert excess_segments(motion, LIMITS)
    if found and not plain:
        # Between a piece's fastest velocity and its farthest position lies a 32nd of a segment.
        assert worst > 0.9


@settings(deadline=None, max_examples=40)
@given(motions())
def test_joints_without_such_limits_are_judged_as_before(motion):
    everywhere = PositionBasedVelocity(
        np.zeros(4), np.ones(4), np.full(4, -np.inf), np.full(4, np.inf)
    )
    same = replace(PLAIN, by_position=everywhere)
    assert excess_segments(motion, same) == excess_segments(motion, PLAIN)
    assert np.array_equal(joints_outside(motion, same), joints_outside(motion, PLAIN))


@settings(deadline=None, max_examples=80)
@given(states())
def test_no_stop_is_refused_for_them(state):
    assume(brake(state, PLAIN, START) is not None)
    stop = brake(state, LIMITS, START)
    assert stop is not None
    assert first_excess(stop, LIMITS) is None
    later = stop.window(SteadyNs(START + int(stop.duration_s * 3e8)), SteadyNs(stop.end_ns))
    assert first_excess(later, LIMITS) is None


@settings(deadline=None, max_examples=40)
@given(states(0.0), states(0.0))
def test_every_pose_is_reached_within_them(begin, end):
    """Also at the ends of the range, where a profile of the whole acceleration is too fast."""
    reached = move_to(JointPoint.at_rest(begin.position), end.position, LIMITS, START)
    assert reached is not None
    p, v, _, _ = (kind[:, :3] for kind in dense(reached))
    assert np.all(np.abs(v) <= allowed(p, v) * (1.0 + 1e-6) + 1e-9)
    np.testing.assert_allclose(reached.positions[-1], end.position)


def test_scaled_limits_are_the_same_share_everywhere():
    places = LIMITS.lower + np.linspace(0.0, 1.0, 9)[:, None] * (LIMITS.upper - LIMITS.lower)
    scaled = LIMITS.scaled(0.5).by_position
    np.testing.assert_allclose(scaled.upwards(places), 0.5 * BY.upwards(places))
    np.testing.assert_allclose(scaled.downwards(places), 0.5 * BY.downwards(places))
    np.testing.assert_allclose(
        BY.upwards(places)[:, :3], allowed(places[:, :3], np.ones(3)), atol=1e-12
    )


def sliding(velocity, joint=0, begin=1.5):
    """A joint at one velocity, from 0.3 before to 0.1 s after `begin`."""
    mid = 0.5 * (LIMITS.lower + LIMITS.upper)
    points = []
    for t in (-0.3, 0.1):
        position, speed = mid.copy(), np.zeros(4)
        position[joint], speed[joint] = begin + velocity * t, velocity
        points.append(JointPoint(position, speed, np.zeros(4)))
    return timeline([0.4], points)


def test_the_excess_is_named_and_only_towards_the_end():
    # At 1.6 joint two is allowed 0.80 rad/s.
    [found] = excess_segments(sliding(1.0), LIMITS)
    assert (found.kind, found.joint) == (BY_POSITION, "two")
    assert 1.2 < found.value < 1.3
    assert "two: velocity for its position 1.2" in str(found)
    assert not excess_segments(sliding(0.75), LIMITS)
    assert not excess_segments(sliding(-1.0, begin=1.4), LIMITS)
    assert joints_outside(sliding(1.0), LIMITS).tolist() == [True, False, False, False]


def ticks(positions):
    """Commanded ticks of joint two, 10 ms apart; the last one is about to be sent."""
    mid = 0.5 * (LIMITS.lower + LIMITS.upper)
    rows = [np.array([p, *mid[1:]]) for p in positions]
    made = [(int(START) + 10_000_000 * k, row) for k, row in enumerate(rows)]
    return made[:-1], SteadyNs(made[-1][0]), made[-1][1]


def test_single_positions_are_judged_too():
    assert tick_trip(*ticks([1.57, 1.58, 1.59, 1.60]), PLAIN) == ""
    trip = tick_trip(*ticks([1.57, 1.58, 1.59, 1.60]), LIMITS)
    assert "two: velocity 1 beyond the 0.8" in trip
    assert tick_trip(*ticks([1.570, 1.576, 1.582, 1.588]), LIMITS) == ""
    assert tick_trip(*ticks([1.60, 1.59, 1.58, 1.57]), LIMITS) == ""
    assert tick_trip(*ticks([1.60]), LIMITS) == ""


@settings(deadline=None, max_examples=40)
@given(states(), st.sampled_from([0.004, 0.01, 0.02]))
def test_no_tick_of_a_stop_trips(state, period_s):
    stop = brake(state, LIMITS, START)
    assume(stop is not None)
    before = []
    for k in range(int(stop.duration_s / period_s) + 3):
        now = SteadyNs(START + round(1e9 * period_s * k))
        position = stop.sample(now).position
        assert tick_trip(before[-3:], now, position, LIMITS) == ""
        before.append((int(now), position))


def test_a_chunk_that_is_too_fast_for_its_positions_is_slowed():
    rows = np.repeat((0.5 * (LIMITS.lower + LIMITS.upper))[None], 12, axis=0)
    rows[:, 0] = np.linspace(0.4, 1.7, 12)
    chunk = ActionChunk(LIMITS.names, StampNs(0), 0.1, rows, "policy:x@0#1")
    still = np.zeros(4, dtype=bool)
    quick, stretch, outside = curve_through(chunk, StampNs(0), 0.1, PLAIN, still)
    assert stretch < 1.3
    assert not outside.any()
    assert joints_outside(quick, LIMITS).any()
    slow, stretch, outside = curve_through(chunk, StampNs(0), 0.1, LIMITS, still)
    assert 1.5 < stretch < 4.0
    assert not outside.any()
    assert not excess_segments(slow, LIMITS)


def test_a_chunk_is_cut_where_it_becomes_too_fast():
    # Out at 1 rad/s, which is too fast from 1.5135 on.
    times = np.linspace(0.0, 0.8, 9)
    mid = 0.5 * (LIMITS.lower + LIMITS.upper)
    points = [
        JointPoint(np.array([0.9 + t, *mid[1:]]), np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(4))
        for t in times
    ]
    chunk = timeline(np.diff(times), points)
    usable, cut = usable_part(chunk, LIMITS, START)
    assert "two: velocity for its position" in cut
    assert usable.positions[-1, 0] == pytest.approx(1.5)


def test_an_arm_that_takes_efforts_is_watched_by_them():
    there = np.array([1.6, *(0.5 * (LIMITS.lower + LIMITS.upper))[1:]])
    assert running_away(there, np.array([0.5, 0.0, 0.0, 0.0]), LIMITS) == ""
    found = running_away(there, np.array([1.0, 0.0, 0.0, 0.0]), LIMITS)
    assert "two turns at 1 rad/s (limit 0.79" in found
    assert running_away(there, np.array([1.0, 0.0, 0.0, 0.0]), PLAIN) == ""


OPTIONS = SupervisorOptions(LIMITS, 0.5 * (LIMITS.lower + LIMITS.upper), np.zeros(4, dtype=bool))


def nearest_rest(state):
    """Where each joint could first be at rest, shape (J,) [rad]."""
    request = InputParameter(len(state.position))
    request.control_interface = ControlInterface.Velocity
    request.synchronization = Synchronization.No
    request.current_position = state.position.tolist()
    request.current_velocity = state.velocity.tolist()
    request.current_acceleration = state.acceleration.tolist()
    request.target_velocity = request.target_acceleration = [0.0] * len(state.position)
    request.max_acceleration = LIMITS.acceleration.tolist()
    request.max_jerk = LIMITS.jerk.tolist()
    stop = Trajectory(len(state.position))
    assert Ruckig(len(state.position)).calculate(request, stop) == Result.Working
    return np.array(stop.at_time(stop.duration)[0])


@settings(deadline=None, max_examples=15)
@given(states(0.0), states(0.0), st.floats(0.05, 0.95))
# Brakes to the end of its range, so no other brake has room.
@example(
    JointPoint.at_rest(np.array([-1.76, -3.02, -2.78, 0.0])),
    JointPoint.at_rest(np.array([-1.76, -3.02, 2.78, 0.0])),
    0.75,
)
@example(
    JointPoint.at_rest(np.array([-1.76, -1.6, -2.78, 0.04])),
    JointPoint.at_rest(np.array([-1.76, -3.02, -2.78, 0.0])),
    0.9375,
)
# A joint that is hardly moving has to stop beside its range's end while another takes long.
@example(
    JointPoint.at_rest(np.array([1.32, -3.00890625, -2.78, 0.0])),
    JointPoint.at_rest(np.array([1.76, -3.02, 0.0, 0.0])),
    0.75,
)
# So short a way that it is all needed to begin and to end.
@example(
    JointPoint.at_rest(np.array([-1.76, -3.02, -2.78, 0.00375])),
    JointPoint.at_rest(np.array([-1.76, -3.02, -2.78, 0.0])),
    0.25,
)
def test_every_window_of_a_stop_on_the_way_passes_the_gate(begin, end, share):
    motion = move_to(JointPoint.at_rest(begin.position), end.position, LIMITS, START)
    assert motion is not None
    plan, sent = Plan(motion, ((int(START), "policy:x"),)), None
    asked = SteadyNs(START + int(share * (motion.end_ns - START)))
    asked_again = plan.splice_time(SteadyNs(asked + 40_000_000))
    for k in range(-3, 12):
        now = SteadyNs(max(asked + k * 20_000_000, int(START)))
        if k == 0:
            plan = stopped(plan, now, OPTIONS)
            # At once, also near the end of the range, if there is room; else as the plan does.
            at = motion.sample(asked_again)
            rest = nearest_rest(at)
            spare = 1e-4 + 0.02 * np.abs(rest - at.position)
            no_room = np.any((rest + spare > LIMITS.upper) | (rest - spare < LIMITS.lower))
            assert no_room or plan.source(SteadyNs(asked_again + 1)) in {"stop", "hold"}
            left_ns = max(0, motion.end_ns - asked_again)
            assert plan.end_ns - asked_again <= 1.5 * left_ns + 10_000_000
        window, _ = plan.window(now, SteadyNs(now + 100_000_000), LIMITS)
        seams = (now, SteadyNs(now + 40_000_000))
        assert window_trip(window, sent or window, seams, LIMITS) == ""
        sent = window

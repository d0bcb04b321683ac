# SPDX-License-Identifier: Apache-2.0
"""What of a plan a controller is left with, and where it is cut and joined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levine_policy_node.core.limits import JointLimits, first_excess
from levine_policy_node.core.plan import HOLD, STOP, Plan, through, with_brake
from levine_policy_node.core.shaper import brake
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import SteadyNs

MS = 1_000_000
NOW = SteadyNs(10_000_000_000)
FOREVER = 2**62
LIMITS = JointLimits(
    names=("pan",),
    lower=np.array([-2.0]),
    upper=np.array([2.0]),
    velocity=np.array([1.0]),
    acceleration=np.array([4.0]),
    jerk=np.array([40.0]),
)


def straight(speed=0.5, duration_s=2.0, begin=0.0, knots=2) -> Timeline[SteadyNs]:
    times_s = np.linspace(0.0, duration_s, knots)
    still = np.zeros((knots, 1))
    rows = begin + speed * times_s[:, None]
    return Timeline(("pan",), NOW, times_s, rows, still + speed, still, "policy:p@0#1")


def after(ms: float) -> SteadyNs:
    return SteadyNs(NOW + round(ms * MS))


PLAN = Plan(straight(), ((int(NOW), "policy:p@0#1"), (after(1500), STOP)))


def at_rest(timeline) -> bool:
    end = timeline.sample(SteadyNs(timeline.end_ns))
    return float(np.abs(end.velocity).max() + np.abs(end.acceleration).max()) < 1e-9


def test_a_window_is_the_plan_and_then_a_brake():
    window, until_ns = PLAN.window(after(500), after(600), LIMITS)
    assert until_ns == after(600)
    assert window.start_ns < after(500)
    for ms in (500, 550, 600):
        assert window.sample(after(ms)).position == pytest.approx(0.0005 * ms)
    assert at_rest(window)
    assert first_excess(window, LIMITS) is None
    # At 0.5 rad/s, with the jerk and acceleration of the limits.
    assert after(600) < window.end_ns < after(1000)


def test_a_window_begins_in_the_past_but_not_before_the_plan():
    past_ns = after(500) - PLAN.window(after(500), after(600), LIMITS)[0].start_ns
    assert past_ns > 0
    early, _ = PLAN.window(after(0), after(100), LIMITS)
    assert early.start_ns == NOW
    # Just after a knot it begins well before it, not after.
    knotted = Plan(straight(knots=5), PLAN.marks)
    now_ns = SteadyNs(after(500) + past_ns + 1000)
    window, _ = knotted.window(now_ns, after(700), LIMITS)
    assert window.start_ns <= after(500)


def test_a_plan_that_is_over_is_left_as_it_is():
    stop = brake(JointPoint(np.zeros(1), np.full(1, 0.5), np.zeros(1)), LIMITS, NOW)
    plan = Plan(stop, ((int(NOW), STOP),))
    for end_ns in (plan.end_ns, plan.end_ns + 50 * MS):
        window, until_ns = plan.window(NOW, SteadyNs(end_ns), LIMITS)
        assert until_ns == FOREVER
        assert window.end_ns == end_ns
        assert at_rest(window)
    assert plan.window(NOW, SteadyNs(plan.end_ns - 20 * MS), LIMITS)[1] < plan.end_ns


def test_where_no_brake_fits_the_window_is_longer():
    stop = brake(JointPoint(np.zeros(1), np.ones(1), np.zeros(1)), LIMITS, NOW)
    plan = Plan(stop, ((int(NOW), STOP),))
    # It ends at the new limit, and brakes harder than may be braked now.
    tighter = replace(LIMITS, upper=stop.positions[-1] + 1e-9, acceleration=np.array([2.0]))
    window, until_ns = plan.window(after(10), after(60), tighter)
    assert until_ns > after(60)
    assert at_rest(window)
    assert window.positions.max() <= tighter.upper[0] + 1e-9
    for ms in (20, 60, 100):
        assert window.sample(after(ms)).position == pytest.approx(stop.sample(after(ms)).position)


def test_beyond_its_end_a_motion_stands():
    stop = brake(JointPoint(np.zeros(1), np.full(1, 0.5), np.zeros(1)), LIMITS, NOW)
    last_ns, end = stop.end_ns, stop.positions[-1]
    part = through(stop, after(10), SteadyNs(last_ns))
    assert (part.start_ns, part.end_ns) == (after(10), last_ns)
    longer = through(stop, after(10), SteadyNs(last_ns + 70 * MS))
    assert (longer.start_ns, longer.end_ns) == (after(10), last_ns + 70 * MS)
    np.testing.assert_allclose(longer.sample(SteadyNs(last_ns + 30 * MS)).position, end)
    for begin_ns in (last_ns, last_ns + 20 * MS):
        standing = through(stop, SteadyNs(begin_ns), SteadyNs(last_ns + 70 * MS))
        assert (standing.start_ns, standing.end_ns) == (begin_ns, last_ns + 70 * MS)
        assert standing.joint_names == stop.joint_names
        assert standing.source == stop.source
        np.testing.assert_array_equal(standing.positions, np.stack([end, end]))
        assert not standing.velocities.any()
        assert not standing.accelerations.any()


def test_who_commands_is_who_began_last():
    assert PLAN.source(SteadyNs(NOW - 1)) == "policy:p@0#1"
    assert PLAN.source(NOW) == "policy:p@0#1"
    assert PLAN.source(SteadyNs(after(1500) - 1)) == "policy:p@0#1"
    assert PLAN.source(after(1500)) == STOP
    assert PLAN.source(SteadyNs(PLAN.end_ns - 1)) == STOP
    assert PLAN.source(SteadyNs(PLAN.end_ns)) == HOLD
    assert [PLAN.stopping(after(ms)) for ms in (1499, 1500, 2000)] == [False, True, True]


def test_a_plan_is_joined_where_it_has_room_for_a_knot():
    knotted = Plan(straight(knots=5), PLAN.marks)
    assert knotted.splice_time(after(300)) == after(300)
    assert knotted.splice_time(after(500)) == after(500)
    close_ns = SteadyNs(after(500) + 1000)
    assert knotted.splice_time(close_ns) > close_ns


def test_what_is_spliced_in_goes_on_from_its_begin_and_keeps_who_was_before():
    next_part = brake(PLAN.sample(after(800)), LIMITS, after(800))
    new = PLAN.spliced(after(700), next_part, ((int(after(800)), "operator:x"),))
    assert new.sample(after(750)).position == pytest.approx(0.375)
    assert new.sample(after(900)).position == next_part.sample(after(900)).position
    assert new.end_ns == next_part.end_ns
    assert new.source(after(799)) == "policy:p@0#1"
    assert new.source(after(800)) == "operator:x"
    # What was to come of the old plan does not come.
    assert [source for _, source in new.marks] == ["policy:p@0#1", "operator:x"]
    assert new.source(SteadyNs(new.end_ns)) == HOLD
    assert new.timeline.start_ns <= after(700)


def test_a_motion_gets_a_brake_at_its_end_or_before():
    whole, braked_ns = with_brake(straight(), LIMITS, NOW)
    assert braked_ns == after(2000)
    assert at_rest(whole)
    assert whole.sample(after(1999)).position == pytest.approx(0.9995)
    narrow = replace(LIMITS, upper=np.array([0.9]))
    cut, braked_ns = with_brake(straight(), narrow, NOW)
    assert after(1000) < braked_ns < after(1800)
    assert at_rest(cut)
    assert first_excess(cut, narrow) is None
    assert cut.sample(SteadyNs(braked_ns - MS)).velocity == pytest.approx(0.5)
    # 20 ms later it would have been too late.
    late_ns = SteadyNs(braked_ns + 21 * MS)
    assert brake(straight().sample(late_ns), narrow, late_ns) is None
    assert with_brake(straight(), narrow, SteadyNs(braked_ns)) is None
    assert with_brake(straight(), narrow, SteadyNs(braked_ns - 1)) is not None


def test_a_motion_that_ends_at_rest_is_left_as_it_is():
    stop = brake(JointPoint(np.zeros(1), np.full(1, 0.5), np.zeros(1)), LIMITS, NOW)
    whole, braked_ns = with_brake(stop, LIMITS, NOW)
    assert whole is stop
    assert braked_ns == stop.end_ns


def test_what_is_spliced_into_a_plan_that_is_over_follows_a_hold():
    stop = brake(JointPoint(np.zeros(1), np.full(1, 0.5), np.zeros(1)), LIMITS, NOW)
    plan, rest = Plan(stop, ((int(NOW), STOP),)), stop.positions[-1]
    end_ns = plan.end_ns
    begin_ns = SteadyNs(end_ns + 100 * MS)
    still = np.zeros((2, 1))
    times_s, there = np.array([0.0, 1.0]), np.stack([rest, rest])
    stay = Timeline(("pan",), begin_ns, times_s, there, still, still, "operator:x")
    marks = ((int(begin_ns), "operator:x"),)
    new = plan.spliced(SteadyNs(end_ns + 60 * MS), stay, marks)
    assert new.marks == ((int(NOW), STOP), (end_ns, HOLD), *marks)
    # Where it goes on as the plan ends there is no hold between.
    joined = replace(stay, start_ns=SteadyNs(end_ns))
    assert plan.spliced(SteadyNs(end_ns - 40 * MS), joined, ((end_ns, "operator:x"),)).marks == (
        (int(NOW), STOP),
        (end_ns, "operator:x"),
    )
    # Marks from after the end meant that it stands.
    late = Plan(stop, ((int(NOW), STOP), (end_ns, "policy:p@0#2"), (end_ns + 5, "policy:p@0#3")))
    said = [source for _, source in late.spliced(SteadyNs(end_ns + 60 * MS), stay, marks).marks]
    assert said == [STOP, HOLD, HOLD, HOLD, "operator:x"]
    # What began with the join does not stay.
    twice = Plan(straight(), ((int(NOW), "policy:p@0#1"), (after(800), "policy:p@0#2")))
    there = brake(twice.sample(after(800)), LIMITS, after(800))
    new = twice.spliced(after(700), there, ((after(800), STOP),))
    assert [source for _, source in new.marks] == ["policy:p@0#1", STOP]


def test_long_ago_is_forgotten():
    stay = brake(PLAN.sample(after(1800)), LIMITS, after(1800))
    new = PLAN.spliced(after(1700), stay, ((after(1800), STOP),))
    assert NOW < new.timeline.start_ns <= after(1700)
    # All of it, where nothing of it is left to be known.
    far = replace(stay, start_ns=after(600))
    assert PLAN.spliced(after(1900), far, ((after(600), STOP),)).timeline is far

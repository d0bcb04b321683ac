# SPDX-License-Identifier: Apache-2.0
"""The last gate trips on everything that must not be sent, however it came about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levine_policy_node.core import gate
from levine_policy_node.core.gate import seam_trip, tick_trip, window_trip
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.shaper import move_to
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import SteadyNs, nanoseconds

LIMITS = JointLimits(
    ("a", "b"),
    np.array([-1.0, -1.0]),
    np.array([1.0, 1.0]),
    np.array([2.0, 2.0]),
    np.array([8.0, 8.0]),
    np.array([80.0, 80.0]),
)
START = SteadyNs(1_000_000_000)
TICK = 10_000_000


def at(offset_s: float) -> SteadyNs:
    return SteadyNs(START + nanoseconds(offset_s))


@pytest.fixture
def plan() -> Plan:
    motion = move_to(JointPoint.at_rest(np.zeros(2)), np.array([0.6, -0.4]), LIMITS, START)
    assert motion is not None
    return Plan(motion, ((int(START), "policy:x"),))


def window(plan: Plan, offset_s: float) -> Timeline[SteadyNs]:
    return plan.window(at(offset_s), at(offset_s + 0.1), LIMITS)[0]


def test_consecutive_windows_pass(plan):
    sent = None
    for k in range(50):
        new = window(plan, 0.02 * k)
        assert window_trip(new, sent, (at(0.02 * k), at(0.02 * k + 0.04)), LIMITS) == ""
        sent = new


@pytest.mark.parametrize("field", ["positions", "velocities", "accelerations"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 50.0])
def test_a_broken_value_trips(plan, field, value):
    good = window(plan, 0.1)
    broken = getattr(good, field).copy()
    broken[2, 1] = value
    assert window_trip(replace(good, **{field: broken}), None, (at(0.1),), LIMITS) != ""


def test_other_joints_trip(plan):
    good = window(plan, 0.0)
    assert "joints" in window_trip(replace(good, joint_names=("b", "a")), None, (START,), LIMITS)


def test_a_window_that_ends_moving_trips(plan):
    cut = plan.timeline.window(START, at(0.1))
    assert window_trip(cut, None, (START,), LIMITS) == "the window does not end at rest"


def test_a_first_window_that_starts_moving_trips(plan):
    assert "start at rest" in window_trip(window(plan, 0.1), None, (at(0.1),), LIMITS)


def test_a_jump_between_windows_trips(plan):
    sent, new = window(plan, 0.1), window(plan, 0.12)
    moved = replace(new, positions=new.positions + 1e-5)
    assert window_trip(moved, sent, (at(0.12),), LIMITS).endswith("position jumps by 1e-05")
    late = replace(new, start_ns=SteadyNs(new.start_ns + 1_000_000))
    assert "jumps" in window_trip(late, sent, (at(0.13),), LIMITS)


def ticks(plan: Plan, times_ns: list[int]) -> list[tuple[int, np.ndarray]]:
    return [(t, plan.sample(SteadyNs(t)).position) for t in times_ns]


def test_ticks_of_a_plan_pass_however_uneven(plan):
    rng = np.random.default_rng(0)
    times = START + np.cumsum(rng.integers(1_000_000, 40_000_000, 200))
    rows = ticks(plan, [int(t) for t in times])
    for k in range(len(rows)):
        assert tick_trip(rows[max(0, k - 3) : k], SteadyNs(rows[k][0]), rows[k][1], LIMITS) == ""


@pytest.mark.parametrize(
    ("step", "kind"), [(0.03, "velocity"), (2e-3, "acceleration"), (2e-4, "jerk")]
)
def test_a_step_in_the_ticks_trips(plan, step, kind):
    rows = ticks(plan, [int(START) - 3 * TICK + k * TICK for k in range(3)])
    trip = tick_trip(rows, START, np.array([step, 0.0]), LIMITS)
    assert trip.startswith(f"a: {kind}")


@pytest.mark.parametrize("gap_ns", [500_000, 20_000, 1_000])
def test_ticks_may_be_close_together_and_are_judged_as_ever(plan, gap_ns):
    before = ticks(plan, [int(START) - 2 * TICK, int(START) - TICK, int(START)])
    now = SteadyNs(START + gap_ns)
    reached = plan.sample(now).position
    assert tick_trip(before, now, reached, LIMITS) == ""
    faster = reached + np.array([2.1 * gap_ns * 1e-9, 0.0])
    assert tick_trip(before, now, faster, LIMITS).startswith("a: velocity")


def test_ticks_that_do_not_come_one_after_the_other_trip(plan):
    before = ticks(plan, [int(START) - TICK, int(START)])
    for now in (START, SteadyNs(START - 5)):
        said = tick_trip(before, now, before[-1][1], LIMITS)
        assert said == "the ticks do not come one after the other"


def test_a_tick_that_is_not_finite_or_out_of_range_trips():
    assert "b" in tick_trip((), START, np.array([0.0, np.nan]), LIMITS)
    assert "outside" in tick_trip((), START, np.array([1.1, 0.0]), LIMITS)


def test_a_seam_may_be_off_by_its_tolerance(monkeypatch):
    monkeypatch.setattr(gate, "_SEAM_TOLERANCE", (0.25, 0.5, 1.0))
    rest = JointPoint.at_rest(np.zeros(2))
    for kind, tolerance in (("position", 0.25), ("velocity", 0.5), ("acceleration", 1.0)):
        for joint in range(2):
            off = np.zeros(2)
            off[joint] = tolerance
            assert seam_trip(rest, replace(rest, **{kind: off}), LIMITS) == ""
            assert seam_trip(replace(rest, **{kind: off}), rest, LIMITS) == ""
            said = seam_trip(rest, replace(rest, **{kind: 1.25 * off}), LIMITS)
            assert said == f"{LIMITS.names[joint]}: {kind} jumps by {1.25 * tolerance:.3g}"


def test_a_window_must_begin_and_end_at_rest_in_velocity_and_in_acceleration():
    still = np.zeros((2, 2))
    for name in ("velocities", "accelerations"):
        for row, said in (
            (0, "the first window does not start at rest"),
            (1, "the window does not end at rest"),
        ):
            rows = {"velocities": still.copy(), "accelerations": still.copy()}
            rows[name][row, 1] = 1e-9
            times_s, at_home = np.array([0.0, 1.0]), np.tile(LIMITS.upper / 2.0, (2, 1))
            window = Timeline(LIMITS.names, at(0.0), times_s, at_home, **rows)
            assert window_trip(window, None, [], LIMITS) == said


@pytest.mark.parametrize(("order", "limit"), [(1, 2.0), (2, 8.0), (3, 80.0)])
def test_a_difference_may_be_beyond_its_limit_by_the_tolerance_and_rounding(order, limit):
    # Powers of two as times, so that differences of the positions below lose nothing.
    tick_s = 2.0**-7
    times_ns = [int(START) - 7_812_500 * k for k in range(order, -1, -1)]
    kind = ("velocity", "acceleration", "jerk")[order - 1]
    wide = replace(
        LIMITS,
        **{name: np.full(2, 1e9) for name in ("velocity", "acceleration", "jerk") if name != kind},
    )
    rounding = 4.0 * np.finfo(float).eps * (2.0 / tick_s) ** order
    for beyond, passes in ((0.9, True), (1.1, False)):
        newest = (limit + beyond * (1e-9 + rounding)) * tick_s**order
        before = [(t, np.zeros(2)) for t in times_ns[:-1]]
        said = tick_trip(before, SteadyNs(times_ns[-1]), np.array([0.0, newest]), wide)
        assert (said == "") == passes, said
        assert passes or said == f"b: {kind} {limit:g} beyond its limit"


def test_of_two_joints_the_one_that_is_farther_beyond_its_own_limit_is_named():
    uneven = replace(LIMITS, velocity=np.array([10.0, 1.0]))
    before = [(int(START) - TICK, np.zeros(2))]
    said = tick_trip(before, START, np.array([0.12, 0.05]), uneven)
    assert said == "b: velocity 5 beyond its limit"


def test_a_window_beyond_its_limits_is_refused_in_figures(plan):
    fast = replace(LIMITS, velocity=np.array([0.01, 0.01]))
    said = window_trip(window(plan, 0.2), None, [], fast)
    assert said.startswith(("a: velocity ", "b: velocity "))
    assert said.endswith(" beyond 0.01")

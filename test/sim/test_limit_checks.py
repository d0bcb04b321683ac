# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruckig import InputParameter, Result, Ruckig, Trajectory

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs
from levine_policy_node.sim.limit_checks import SetpointCheck, check_trajectory

START = StampNs(1_700_000_000_000_000_000)
LIMITS = JointLimits(
    ("a", "b"),
    np.array([-1.5, -1.0]),
    np.array([1.5, 2.0]),
    np.array([2.0, 1.0]),
    np.array([8.0, 4.0]),
    np.array([80.0, 50.0]),
)


def fastest_motion(start, target, limits=LIMITS):
    """Time-optimal jerk-limited motion from rest to rest, with a knot at every switch."""
    request = InputParameter(2)
    request.current_position, request.target_position = list(start), list(target)
    request.max_velocity = list(limits.velocity)
    request.max_acceleration = list(limits.acceleration)
    request.max_jerk = list(limits.jerk)
    motion = Trajectory(2)
    assert Ruckig(2).calculate(request, motion) is Result.Working
    switches = np.unique(
        np.concatenate([[0.0], *(np.cumsum(profile.t) for profile in motion.profiles[0])])
    )
    times = np.concatenate([[0.0], switches[1:][np.diff(switches) > 1e-7]])
    times = np.append(times[times < motion.duration - 1e-7], motion.duration)
    # On the wire times are whole nanoseconds.
    wire = np.round(times * 1e9) / 1e9
    p, v, a = (
        np.array(rows) for rows in zip(*(motion.at_time(t)[:3] for t in times), strict=True)
    )
    v[-1] = a[-1] = 0.0
    return Timeline(LIMITS.names, START, wire, p, v, a)


def stream(check, motion, period_s=0.01, offset_s=0.0, extra=5):
    """Everything the check finds in a motion sampled once per period."""
    found = []
    for k in range(1, int(motion.duration_s / period_s) + extra):
        t = k * period_s + offset_s
        stamp = StampNs(START + round(t * 1e9))
        found += check.check(motion.sample_s(t).position, stamp).violations
    return found


def step_after(check, held, step):
    """What the check finds in a step after the arm has stood at `held`."""
    for k in range(4):
        setpoint = held + np.array(step) * (k == 3)
        found = check.check(setpoint, StampNs(START + 10**10 + k * 10_000_000)).violations
    return found


def begun(position):
    check = SetpointCheck(LIMITS)
    check.begin(np.array(position), START)
    return check


inside = st.tuples(
    st.floats(-1.4, 1.4, allow_subnormal=False), st.floats(-0.9, 1.9, allow_subnormal=False)
)


@settings(deadline=None, max_examples=60)
@given(inside, inside, st.floats(0.0, 0.0099, allow_subnormal=False))
def test_motion_at_the_limits_is_never_reported(start, target, phase):
    if np.max(np.abs(np.subtract(start, target))) < 1e-3:
        return
    motion = fastest_motion(start, target)
    assert check_trajectory(motion, LIMITS).violations == ()
    assert stream(begun(start), motion, offset_s=phase) == []
    assert stream(begun(start), motion, period_s=0.005) == []


@settings(deadline=None, max_examples=60)
@given(inside, inside, st.sampled_from(["velocity", "acceleration", "jerk"]))
def test_two_percent_over_a_limit_is_always_reported(start, target, kind):
    if np.min(np.abs(np.subtract(start, target))) < 0.7:
        return  # Long enough for both joints to reach every limit.
    limits = JointLimits(
        LIMITS.names,
        LIMITS.lower,
        LIMITS.upper,
        *(getattr(LIMITS, k) * (1.02 if k == kind else 1.0) for k in ("velocity", "acceleration")),
        LIMITS.jerk * (1.02 if kind == "jerk" else 1.0),
    )
    motion = fastest_motion(start, target, limits)
    findings = check_trajectory(motion, LIMITS)
    assert {v.kind for v in findings.violations} == {kind}
    assert dict(findings.worst)[kind] == pytest.approx(1.02, rel=1e-3)
    if kind == "velocity":
        assert {v.kind for v in stream(begun(start), motion)} == {"velocity"}


def test_the_worst_joint_time_value_and_limit_are_named():
    still = np.zeros((3, 2))
    velocities = still.copy()
    velocities[1, 1] = 1.1
    motion = Timeline(LIMITS.names, START, np.array([0.0, 1.0, 2.0]), still, velocities, still)
    patient = replace(LIMITS, acceleration=LIMITS.acceleration * 9, jerk=LIMITS.jerk * 9)
    [violation] = check_trajectory(motion, patient).violations
    assert (violation.kind, violation.joint, violation.where) == ("velocity", "b", "trajectory")
    assert violation.value == pytest.approx(1.1)
    assert violation.limit == 1.0


def test_a_position_is_judged_between_the_knots_too():
    rows = np.array([[1.49, 0.0], [1.49, 0.0]])
    velocities = np.array([[0.5, 0.0], [-0.5, 0.0]])
    motion = Timeline(LIMITS.names, START, np.array([0.0, 0.4]), rows, velocities, 0 * rows)
    found = check_trajectory(motion, LIMITS).violations
    assert [(v.kind, v.joint) for v in found] == [("position", "a")]
    top = max(motion.sample_s(t).position[0] for t in np.linspace(0, 0.399, 500))
    assert found[0].value == pytest.approx(top, abs=1e-5)
    grazing = Timeline(
        LIMITS.names, START, np.array([0.0, 0.4]), rows - 0.07, velocities, 0 * rows
    )
    assert check_trajectory(grazing, LIMITS).violations == ()


@pytest.mark.parametrize(("value", "count"), [(1.5 + 5e-7, 0), (1.5 + 2e-6, 1), (-1.6, 1)])
def test_setpoints_are_judged_against_the_range_of_the_joint(value, count):
    found = begun([value, 0.0]).check(np.array([value, 0.0]), START).violations
    assert len(found) == count


@settings(deadline=None)
@given(st.floats(0.0005, 1.0, allow_subnormal=False), st.sampled_from([1, -1]))
def test_a_step_between_two_trajectories_is_reported(step, sign):
    check = begun([0.0, 0.5])
    motion = fastest_motion((0.0, 0.5), (0.4, 0.9))
    assert stream(check, motion) == []
    found = step_after(check, motion.positions[-1], [0.0, sign * step])
    assert {"jerk"} <= {v.kind for v in found}
    assert {v.joint for v in found} == {"b"}


@pytest.mark.parametrize(("step", "reported"), [(0.009, False), (0.02, True)])
def test_the_first_command_may_start_from_the_measured_position(step, reported):
    held = np.array([0.1, 0.1])
    check = begun(held)
    assert check.check(held, START).violations == ()
    motion = fastest_motion(held + step, held + step + 0.5)
    assert bool(stream(check, motion)) == reported
    # Once: after that a step is a step.
    assert step_after(check, motion.positions[-1], 0.009)


def test_not_a_number_is_a_violation_and_leaves_the_history_alone():
    check = begun([0.0, 0.0])
    [violation] = check.check(np.array([0.0, np.nan]), START).violations
    assert (violation.kind, violation.joint, violation.value) == ("position", "b", None)
    motion = fastest_motion((0.0, 0.0), (0.5, 0.5))
    assert stream(check, motion) == []


def test_begin_forgets_what_was_before():
    check = begun([0.0, 0.0])
    stream(check, fastest_motion((0.0, 0.0), (0.5, 0.5)))
    check.begin(np.array([-1.0, -0.5]), StampNs(START + 10**10))
    found = check.check(np.array([-1.0, -0.5]), StampNs(START + 10**10)).violations
    assert found == ()

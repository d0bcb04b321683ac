# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.supervision import Rest
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs
from levine_policy_node.sim.controller_semantics import SEMANTICS
from levine_policy_node.sim.controller_trajectory import (
    TrajectoryCommand,
    TrajectoryPoint,
    rest_command,
)
from levine_policy_node.sim.joint_trajectory_controller import (
    JointTrajectoryController,
    TrajectoryControllerOptions,
)

NAMES = ("a", "b", "c")
PERIOD = 10_000_000
START = StampNs(1_700_000_000_000_000_000)
STILL = np.zeros(3)


def controller(**options):
    made = JointTrajectoryController(NAMES, PERIOD, TrajectoryControllerOptions(**options))
    made.activate(STILL)
    return made


def run(made, cycles, first=0, measured=STILL, velocity=STILL):
    """Setpoints of `cycles` control cycles, shape (cycles, J)."""
    return np.array(
        [
            made.update(StampNs(START + (first + k) * PERIOD), measured, velocity)
            for k in range(cycles)
        ]
    )


def command(points, names=NAMES, stamp=START):
    return TrajectoryCommand(tuple(names), StampNs(stamp), tuple(points))


def point(time_s, positions, *rest):
    fields = [np.array(values, dtype=float) for values in (positions, *rest)]
    return TrajectoryPoint(round(time_s * 1e9), *fields)


values = st.floats(-2.0, 2.0, allow_subnormal=False).map(lambda x: round(x, 3))
rows = st.lists(values, min_size=3, max_size=3)


@st.composite
def trajectories(draw, derivatives=2):
    """A trajectory that starts now and ends at rest, as rows and as a command."""
    count = draw(st.integers(2, 6))
    spans = [draw(st.integers(20, 400)) / 1e3 for _ in range(count - 1)]
    times = np.cumsum([0.0, *spans])
    fields = [np.array([draw(rows) for _ in range(count)]) for _ in range(1 + derivatives)]
    for field in fields[1:]:
        field[-1] = 0.0
    points = [point(t, *(field[k] for field in fields)) for k, t in enumerate(times)]
    return times, fields, command(points)


@settings(deadline=None, max_examples=60)
@given(trajectories())
def test_quintic_points_are_sampled_one_period_ahead_and_the_last_is_held(case):
    times, (p, v, a), sent = case
    made = controller()
    assert made.receive(sent, START) is None
    cycles = int(times[-1] * 100) + 20
    expected = Timeline(NAMES, START, times, p, v, a)
    got = run(made, cycles)
    for k in range(cycles):
        np.testing.assert_allclose(got[k], expected.sample_s((k + 1) * 0.01).position, atol=1e-9)
    np.testing.assert_array_equal(run(made, 1, first=1_000_000)[0], p[-1])


@settings(deadline=None, max_examples=60)
@given(trajectories(), st.permutations(range(3)))
def test_joints_are_bound_by_name(case, order):
    _, _, sent = case

    def permuted(field):
        return field[list(order)]

    shuffled = TrajectoryCommand(
        tuple(NAMES[i] for i in order),
        sent.stamp_ns,
        tuple(
            TrajectoryPoint(
                q.time_from_start_ns,
                permuted(q.positions),
                permuted(q.velocities),
                permuted(q.accelerations),
            )
            for q in sent.points
        ),
    )
    one, other = controller(), controller()
    one.receive(sent, START)
    other.receive(shuffled, START)
    np.testing.assert_array_equal(run(one, 100), run(other, 100))


@settings(deadline=None, max_examples=60)
@given(trajectories(), st.integers(1, 60))
def test_a_trajectory_replaces_the_running_one_and_skips_what_is_past(case, at):
    times, (p, v, a), sent = case
    running = controller()
    running.receive(
        command([point(0, STILL, STILL, STILL), point(9, [1, 1, 1], STILL, STILL)]), START
    )
    before = run(running, at)
    assert np.all(np.abs(np.diff(before, axis=0)) < 0.01)
    now = StampNs(START + at * PERIOD)
    reason = running.receive(sent, now)
    if START + round(times[-1] * 1e9) < now:
        assert reason == "trajectory ends in the past"
        return
    expected = Timeline(NAMES, START, times, p, v, a).sample_s((at + 1) * 0.01)
    np.testing.assert_allclose(run(running, 1, first=at)[0], expected.position, atol=1e-9)


GOOD = (point(0.1, [0.1, 0, 0], STILL), point(0.2, [0.2, 0, 0], STILL))
BAD = {
    "too few joints": command([point(0.1, [0, 0])], names=("a", "b")),
    "a foreign joint": command(GOOD, names=("a", "b", "x")),
    "no points": command([]),
    "time stands still": command([GOOD[0], replace(GOOD[1], time_from_start_ns=100_000_000)]),
    "time runs back": command([GOOD[1], GOOD[0]]),
    "a position is missing": command([GOOD[0], point(0.2, [0, 0])]),
    "no positions": command([GOOD[0], point(0.2, [], STILL)]),
    "a velocity is missing": command([point(0.1, STILL, [0, 0]), GOOD[1]]),
    "an acceleration is missing": command([point(0.1, STILL, STILL, [0]), GOOD[1]]),
    "effort": command([point(0.1, STILL, STILL, STILL, STILL)]),
    "does not end at rest": command([GOOD[0], point(0.2, STILL, [0, 1e-3, 0])]),
    "ends in the past": command(GOOD, stamp=START - 300_000_000),
}


@pytest.mark.parametrize("name", BAD)
def test_a_rejected_trajectory_leaves_the_running_one_untouched(name):
    undisturbed, disturbed = controller(), controller()
    running = command([point(1.0, [1, 2, 3], STILL)])
    for made in (undisturbed, disturbed):
        assert made.receive(running, START) is None
        run(made, 30)
    assert disturbed.receive(BAD[name], START)
    np.testing.assert_array_equal(run(undisturbed, 90, 30), run(disturbed, 90, 30))


def test_an_end_velocity_is_accepted_when_the_option_allows_it():
    made = controller(allow_nonzero_velocity_at_trajectory_end=True)
    assert made.receive(BAD["does not end at rest"], START) is None


def test_positions_alone_are_joined_by_straight_lines():
    made = controller()
    made.receive(command([point(0, STILL), point(1, [1, 2, -1]), point(2, [0, 0, 0])]), START)
    got = run(made, 200)
    k = np.arange(1, 101)[:, None] / 100
    np.testing.assert_allclose(got[:100], k * [1, 2, -1], atol=1e-12)
    np.testing.assert_allclose(np.diff(got[99:], axis=0), np.tile([-0.01, -0.02, 0.01], (100, 1)))


@settings(deadline=None, max_examples=60)
@given(trajectories(derivatives=1))
def test_velocities_make_cubics_that_meet_both_ends(case):
    times, (p, v), sent = case
    made = controller()
    made.receive(sent, START)
    got = run(made, round(times[-1] * 100) + 2)
    for k in range(len(times) - 1):
        span = times[k + 1] - times[k]
        for i in range(int(np.ceil(times[k] * 100)), int(times[k + 1] * 100)):
            t = i / 100 - times[k]
            if i == 0 or t < 0:
                continue
            u = t / span
            hermite = (
                (1 + 2 * u) * (1 - u) ** 2 * p[k]
                + span * u * (1 - u) ** 2 * v[k]
                + u * u * (3 - 2 * u) * p[k + 1]
                + span * u * u * (u - 1) * v[k + 1]
            )
            np.testing.assert_allclose(got[i - 1], hermite, atol=1e-7)


def test_stamp_zero_starts_at_the_first_cycle_after_it_came():
    made = controller()
    run(made, 50)
    made.receive(command([point(0, STILL), point(1, [1, 1, 1])], stamp=0), START)
    np.testing.assert_allclose(run(made, 1, first=50)[0], [0.01] * 3)


def test_the_way_to_the_first_point_starts_from_the_measured_state():
    made = controller()
    made.receive(command([point(0.5, [1, 1, 1])]), START)
    measured = np.array([0.2, 0.0, 0.0])
    got = run(made, 60, measured=measured)
    np.testing.assert_allclose(got[0], measured + 0.02 * (np.ones(3) - measured))
    np.testing.assert_array_equal(got[49:], np.ones((11, 3)))


def test_the_way_to_the_first_point_starts_from_the_command_when_asked_to():
    made = controller(interpolate_from_desired_state=True)
    made.receive(command([point(0.5, [1, 1, 1])]), START)
    got = run(made, 60, measured=np.full(3, 0.2))
    np.testing.assert_allclose(got[0], np.full(3, 0.02))


def test_a_start_in_the_future_is_waited_for():
    made = controller()
    made.receive(command([point(0, STILL), point(1, [1, 1, 1])], stamp=START + 200_000_000), START)
    got = run(made, 130)
    np.testing.assert_allclose(got[:20], 0.0, atol=1e-12)
    np.testing.assert_allclose(got[-1], np.ones(3))


def test_what_the_stock_controller_lets_through_comes_through_here():
    made = controller()
    assert made.receive(command([point(0, [np.nan, 0, 0])]), START) is None
    assert np.isnan(run(made, 1)[0, 0])

    made = controller()
    assert made.receive(command([point(0, [1, 2, 3])], names=("a", "a", "b")), START) is None
    assert list(run(made, 1)[0]) == [2, 3, 0]

    made = controller()
    no_velocities = [point(t, [1, 1, 1], [], STILL) for t in (0, 1)]
    assert made.receive(command(no_velocities), START) is None
    np.testing.assert_array_equal(run(made, 1)[0], STILL)


@settings(max_examples=30, deadline=None)
@given(trajectories())
def test_activation_forgets_every_trajectory(case):
    _, _, sent = case
    made = controller()
    made.receive(sent, START)
    run(made, 5)
    made.receive(sent, START)
    made.activate(np.ones(3))
    np.testing.assert_array_equal(run(made, 20, first=5, measured=STILL), np.ones((20, 3)))


def test_update_needs_activation():
    with pytest.raises(RuntimeError, match="activate"):
        JointTrajectoryController(NAMES, PERIOD).update(START, STILL, STILL)


# What differs between releases.


def moving(made, first=0, cycles=30):
    """Follow a ramp of 1 rad/s from START on for a while."""
    ramp = [point(0, STILL), point(5, [5, 5, 5])]
    assert made.receive(command(ramp), START) is None
    return run(made, cycles, first=first)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_humble_writes_the_present_setpoint_and_the_others_the_next(semantics):
    got = moving(controller(semantics=semantics))[:, 0]
    late = 0 if semantics == "humble" else 1
    np.testing.assert_allclose(got, (np.arange(30) + late) * 0.01, atol=1e-12)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_only_humble_lets_a_trajectory_end_moving(semantics):
    made = controller(semantics=semantics)
    accepted = made.receive(BAD["does not end at rest"], START) is None
    assert accepted == (semantics == "humble")
    strict = controller(semantics=semantics, allow_nonzero_velocity_at_trajectory_end=False)
    assert strict.receive(BAD["does not end at rest"], START)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_points_in_the_past_are_skipped_unless_master_blends(semantics):
    made = controller(semantics=semantics, allow_trajectory_replacement=False)
    before = moving(made)
    ramp = command([point(0, STILL), point(5, [5, 5, 5])])
    made.receive(ramp, START)
    after = run(made, 10, first=30)
    np.testing.assert_allclose(np.diff(np.vstack([before, after])[:, 0]), 0.01)


def test_blending_takes_a_past_stamp_for_now():
    made = controller(semantics="master")
    moving(made)
    made.receive(command([point(0, STILL), point(5, [5, 5, 5])]), START)
    # 0.3 s of it had passed; all of it is played again.
    np.testing.assert_allclose(run(made, 3, first=30)[:, 0], [0.01, 0.02, 0.03], atol=1e-12)


def test_blending_keeps_the_old_trajectory_up_to_a_future_start():
    made = controller(semantics="master", interpolate_from_desired_state=True)
    points = [point(t / 10, [t / 10] * 3, np.ones(3)) for t in range(20)] + [
        point(2.5, [2, 2, 2], STILL)
    ]
    assert made.receive(command(points), START) is None
    run(made, 30)
    later = [point(0.1, [1, 1, 1], np.ones(3)), point(1.0, [2, 2, 2], STILL)]
    made.receive(command(later, stamp=START + 500_000_000), START)
    got = run(made, 40, first=30)[:, 0]
    assert np.all(np.diff(got) > 0.0)
    # The old points are played a period late, the new ones when they are due.
    np.testing.assert_allclose(got[29], 1.0, atol=1e-9)


def test_a_hold_is_replaced_even_by_master():
    made, other = controller(semantics="master"), controller(semantics="kilted")
    for each in (made, other):
        each.receive(command([point(0.5, [1, 1, 1], STILL)]), START)
    np.testing.assert_array_equal(run(made, 60), run(other, 60))


def test_kilted_is_jazzy():
    assert SEMANTICS["kilted"] == SEMANTICS["jazzy"]


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_a_clock_that_steps_back_into_an_earlier_segment_ends_the_trajectory(semantics):
    made = controller(semantics=semantics)
    moving(made)
    steps = [point(t / 100, [t / 100] * 3) for t in range(100)]
    made.receive(command(steps, stamp=START + 300_000_000), START)
    run(made, 5, first=30)
    # Not before the state it was joined from, but before the segment it was in.
    assert run(made, 1, first=32)[0, 0] == 0.99


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("step_s", [-10.0, 0.0, 10.0])
@pytest.mark.parametrize("in_flight", [True, False])
def test_a_rest_ends_a_motion_whatever_the_clock_says(semantics, step_s, in_flight):
    made = controller(semantics=semantics)
    moving(made)
    made.receive(command([point(0.0, STILL, STILL), point(2.0, [1, 1, 1], STILL)]), START)
    run(made, 50)
    first = 50 + round(step_s * 100)
    if in_flight:
        # Stamped by the clock as it was.
        ahead = [point(0.0, [0.2] * 3, [0.5] * 3), point(1.5, [1, 1, 1], STILL)]
        made.receive(command(ahead, stamp=START + 500_000_000), START)
        run(made, 2, first=first)
    made.receive(rest_command(NAMES, Rest(np.full(3, 0.3), 0.5)), START)
    told = run(made, 60, first=first + 2)
    np.testing.assert_allclose(told[52:], 0.3, atol=1e-12)
    assert np.abs(np.diff(told, axis=0)).max() < 0.02

# SPDX-License-Identifier: Apache-2.0
"""Steps of switching joints fit their limits, never overshoot and are one quintic per segment."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.limits import JointLimits, first_excess
from levine_policy_node.core.stepped import step_shape, stepped
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs

BOUNDS = np.array([3.0, 30.0, 900.0])
LIMITS = JointLimits(("g",), np.array([-9.0]), np.array([9.0]), *(BOUNDS[:, None]))


def made(values, dt_s, bounds=BOUNDS):
    """The steps at all half rows, and with knots only at rows, begins and ends."""
    length, late = step_shape(values, dt_s, bounds)
    found, marks = stepped(values, dt_s, length, late)
    times = 0.5 * dt_s * np.arange(len(marks))
    marks[::2] = True
    every = Timeline(("g",), StampNs(0), times, *found[:, :, None])
    few = Timeline(("g",), StampNs(0), times[marks], *found[:, marks, None])
    return length, late, every, few


rows = st.one_of(
    st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=2, max_size=25),
    st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=25),
)


@given(rows, st.floats(0.01, 0.2))
@settings(deadline=None)
def test_steps_are_within_the_limits_and_the_range_of_the_rows(values, dt_s):
    values = np.array(values)
    _, _, every, few = made(values, dt_s)
    assert first_excess(every, LIMITS) is None
    at = np.linspace(0.0, every.duration_s, 301)
    positions = every.sample_each(at).position
    assert positions.min() >= values.min() - 1e-12
    assert positions.max() <= values.max() + 1e-12
    np.testing.assert_allclose(few.sample_each(at).position, positions, atol=1e-12)


@pytest.mark.parametrize("switch_row", [6, 7])
def test_a_switch_is_centred_between_its_rows(switch_row):
    values = np.where(np.arange(20) < switch_row, 0.0, 1.0)
    length, late, every, _ = made(values, 0.1, np.array([30.0, 2000.0, 2e5]))
    assert (length, late) == (1, 0)
    # The timeline begins one row before the first.
    middle = 0.1 * (switch_row + 0.5)
    assert every.sample_s(middle).position[0] == pytest.approx(0.5)
    assert every.sample_s(middle - 0.05).position[0] == 0.0
    assert every.sample_s(middle + 0.05).position[0] == 1.0


def test_a_slow_joint_switches_no_more_than_a_tenth_of_a_second_early():
    values = np.where(np.arange(60) < 20, 0.0, 1.0)
    length, late, every, _ = made(values, 0.04, np.array([2.0, 8.0, 80.0]))
    assert length * 0.04 > 0.9
    change = 0.04 * 20.5
    assert late > 0
    assert every.sample_s(change - 0.1).position[0] < 1e-9
    assert every.sample_s(change - 0.06).position[0] > 1e-9


def test_a_motion_of_a_switching_joint_stays_a_motion():
    times = 0.1 * np.arange(30)
    values = 0.5 - 0.5 * np.cos(1.5 * times)
    length, late, every, _ = made(values, 0.1, np.array([2.0, 8.0, 80.0]))
    assert length >= 3
    assert late == 0
    on_rows = every.positions[2::2, 0]
    np.testing.assert_allclose(on_rows, values, atol=0.05)


def step_at(u):
    """The quintic step of Flash and Hogan, its velocity and its acceleration."""
    u = np.clip(u, 0.0, 1.0)
    return (
        u**3 * (10.0 + u * (6.0 * u - 15.0)),
        30.0 * u**2 * (1.0 - u) ** 2,
        60.0 * u * (1.0 - u) * (1.0 - 2.0 * u),
    )


@given(
    st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=2, max_size=12),
    st.integers(1, 9),
    st.integers(0, 7),
)
def test_it_is_a_sum_of_steps_each_where_its_rows_change(values, length, late):
    values, dt_s = np.array(values), 0.1
    count = 2 * len(values) + 1
    times_s = dt_s * (0.5 * np.arange(count) - 1.0)
    expected = np.zeros((3, count))
    expected[0] = values[0]
    begins_or_ends = np.zeros(count, dtype=bool)
    for row in range(1, len(values)):
        change = values[row] - values[row - 1]
        middle_s = dt_s * (row - 0.5 + 0.5 * late)
        u = (times_s - middle_s) / (length * dt_s) + 0.5
        for kind, value in enumerate(step_at(u)):
            expected[kind] += change * value / (length * dt_s) ** kind
        if change != 0.0:
            begins_or_ends |= np.isclose(u, 0.0) | np.isclose(u, 1.0)
    found, marks = stepped(values, dt_s, length, late)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(marks, begins_or_ends)
    if late == 0:
        np.testing.assert_array_equal(stepped(values, dt_s, length)[0], found)


def peaks(length, dt_s, size=1.0):
    """Velocity, acceleration and jerk of one step, at most."""
    u = np.linspace(0.0, 1.0, 20_001)
    _, velocity, acceleration = step_at(u)
    most = velocity.max(), acceleration.max(), 60.0
    return size * np.array(most) / (length * dt_s) ** np.arange(1.0, 4.0)


SHARES = np.array([0.95, 0.8, 0.8])
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 21, 27, 35, 45, 57, 73, 93, 119, 151)


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize(("shorter", "length"), list(itertools.pairwise(LENGTHS)))
@pytest.mark.parametrize("first", [1, 2, 9])
def test_a_step_is_as_short_as_each_limit_lets_it_be(kind, shorter, length, first):
    # Wherever the step is in the rows, also right at their begin.
    rows = np.where(np.arange(first + 3) < first, 0.0, 1.0)
    bounds = np.full(3, 1e12)
    bounds[kind] = 1.02 * peaks(length, 0.1)[kind] / SHARES[kind]
    if bounds[kind] < peaks(shorter, 0.1)[kind] / SHARES[kind]:
        assert step_shape(rows, 0.1, bounds)[0] == length
    bounds[kind] = 0.99 * peaks(length, 0.1)[kind] / SHARES[kind]
    assert step_shape(rows, 0.1, bounds)[0] > length or length == LENGTHS[-1]


def test_what_fits_no_length_is_as_long_as_there_is():
    rows = np.where(np.arange(9) < 4, 0.0, 1.0)
    assert step_shape(rows, 0.1, np.full(3, 1e-6)) == (151, 149)
    assert step_shape(np.linspace(0.0, 9.0, 10), 0.1, np.full(3, 1e-6)) == (151, 0)


@pytest.mark.parametrize(
    ("dt_s", "late"), [(0.3, 8), (0.2, 8), (0.1, 7), (0.05, 5), (0.02, 0), (0.01, 0)]
)
def test_a_step_begins_a_tenth_of_a_second_before_its_change_at_most(dt_s, late):
    rows = np.where(np.arange(9) < 4, 0.0, 1.0)
    bounds = np.array([1.02 * peaks(9, dt_s)[0] / SHARES[0], 1e12, 1e12])
    assert step_shape(rows, dt_s, bounds) == (9, late)


@pytest.mark.parametrize("hold", [0, 1, 4])
def test_rows_that_change_one_after_the_other_have_steps_that_end_on_rows(hold):
    # A ramp of 1 rad/s: steps of three rows or more make a steady motion of it.
    rows = 0.1 * np.maximum(np.arange(30) - hold, 0)
    found = set()
    for limit in np.geomspace(1.06, 60.0, 60):
        length, late = step_shape(rows, 0.1, np.array([limit, 1e12, 1e12]))
        assert late == 0
        found.add(length)
    jerky = {step_shape(rows, 0.1, np.array([9.0, 1e12, j]))[0] for j in np.geomspace(0.05, 1e4)}
    assert {3} <= found <= {3, 5}
    assert jerky >= {3, 5, 7, 9, 11, 13, 17, 21}
    assert not jerky & {1, 2, 4, 6, 8}

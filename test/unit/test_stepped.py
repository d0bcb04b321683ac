# SPDX-License-Identifier: Apache-2.0
"""Steps of switching joints fit their limits, never overshoot and are one quintic per segment."""

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

# SPDX-License-Identifier: Apache-2.0
"""Steps of switching joints fit their limits, begin in time and are one quintic per segment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.limits import JointLimits, first_excess
from levine_policy_node.core.stepped import step_time, stepped
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs

LIMITS = JointLimits(
    ("g",), np.array([-9.0]), np.array([9.0]), np.array([3.0]), np.array([30.0]), np.array([900.0])
)


def made(times, values):
    length = step_time(times, values[:, None], 0, LIMITS)
    knots = np.unique(np.concatenate([times, times[1:] + length]))
    knots = knots[np.concatenate([[True], np.diff(knots) > 1e-4])]
    p, v, a = stepped(times, values, length, knots)
    return length, Timeline(("g",), StampNs(0), knots, p[:, None], v[:, None], a[:, None])


@given(st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=3, max_size=25), st.floats(0.02, 0.2))
def test_steps_are_within_the_limits(values, dt_s):
    times = dt_s * np.arange(len(values))
    _, timeline = made(times, np.array(values))
    assert first_excess(timeline, LIMITS) is None
    np.testing.assert_allclose(timeline.positions[-1], values[-1], atol=1e-9)


def test_a_switch_begins_at_its_row_and_ends_one_step_later():
    times = 0.1 * np.arange(20)
    values = np.where(times < 0.95, 0.0, 1.0)
    length, timeline = made(times, values)
    assert timeline.sample_s(1.0).position[0] == 0.0
    assert timeline.sample_s(1.0 + length / 2).position[0] == pytest.approx(0.5)
    assert timeline.sample_s(1.0 + length + 1e-6).position[0] == pytest.approx(1.0)
    assert 1.875 / LIMITS.velocity[0] <= length < 1.0

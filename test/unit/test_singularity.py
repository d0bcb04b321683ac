# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.singularity import along, condition, progress

SLOW, STOP = 17.0, 30.0
numbers = st.lists(st.floats(1.0, 1e6) | st.just(float("inf")), min_size=2, max_size=30)


def test_the_condition_of_a_jacobian():
    assert condition(np.diag([4.0, 2.0, 1.0])) == 4.0
    assert condition(np.diag([4.0, 0.0])) == float("inf")


@given(st.lists(st.floats(1.0, SLOW), min_size=2, max_size=30))
def test_away_from_singularities_nothing_changes(conditions):
    rows = len(conditions) - 1
    assert np.array_equal(progress(np.array(conditions), SLOW, STOP), np.arange(1, rows + 1))


@given(numbers)
def test_it_is_never_ahead_never_stands_and_never_turns_back(conditions):
    reached = progress(np.array(conditions), SLOW, STOP)
    steps = np.diff(np.concatenate([[0.0], reached]))
    assert np.all(steps <= 1.0 + 1e-12)
    assert np.all(steps >= 0.05 - 1e-12)


def test_the_way_in_ends_in_a_crawl_and_the_way_out_does_not():
    inwards = progress(np.linspace(17.0, 43.0, 27), SLOW, STOP)
    steps = np.diff(inwards)
    assert np.all(np.diff(steps[:12]) <= 1e-12)
    assert np.isclose(progress(np.linspace(30.0, 40.0, 11), SLOW, STOP)[-1], 0.5)
    assert progress(np.linspace(40.0, 17.0, 11), SLOW, STOP)[-1] == 10.0


def test_rows_are_met_in_between_and_grippers_step():
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 0.0]])
    slowed = along(rows, np.array([0.4, 1.5]), np.array([False, True]))
    assert np.allclose(slowed, [[0.4, 0.0], [2.0, 0.0]])
    assert np.array_equal(along(rows, np.array([1.0, 2.0]), np.array([False, True])), rows[1:])

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from levine_policy_node.core.units import StampNs
from levine_policy_node.sim.controller_semantics import SEMANTICS
from levine_policy_node.sim.forward_command_controller import ForwardCommandController

NAMES = ("a", "b", "c")
HOLD = np.array([0.1, 0.2, 0.3])


def controller(semantics="jazzy"):
    made = ForwardCommandController(NAMES, semantics)
    made.activate(HOLD)
    return made


def update(made):
    return made.update(StampNs(0), np.zeros(3), np.zeros(3))


anything = arrays(
    np.float64, 3, elements=st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=False)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(anything, max_size=6))
def test_the_latest_finite_command_wins_and_is_held(commands):
    made, expected = controller(), HOLD
    for values in commands:
        accepted = made.receive(values) is None
        assert accepted == bool(np.all(np.isfinite(values)))
        if accepted:
            expected = values
    for _ in range(3):
        np.testing.assert_array_equal(update(made), expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8).filter(lambda n: n != 3))
def test_a_wrong_size_stops_the_controller_until_it_is_activated(count):
    made = controller()
    made.receive(np.ones(3))
    update(made)
    assert made.receive(np.zeros(count))
    np.testing.assert_array_equal(update(made), np.ones(3))
    assert made.receive(np.zeros(3)) == "the controller is not active"
    np.testing.assert_array_equal(update(made), np.ones(3))
    made.activate(HOLD)
    assert made.receive(np.zeros(3)) is None
    np.testing.assert_array_equal(update(made), np.zeros(3))


def test_a_right_command_before_the_next_cycle_replaces_a_wrong_one():
    made = controller()
    made.receive(np.zeros(5))
    assert made.receive(np.ones(3)) is None
    np.testing.assert_array_equal(update(made), np.ones(3))


def test_an_empty_message_changes_nothing():
    made = controller()
    assert made.receive(np.empty(0)) is None
    np.testing.assert_array_equal(update(made), HOLD)


def test_update_needs_activation():
    with pytest.raises(RuntimeError, match="activate"):
        update(ForwardCommandController(NAMES))


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_only_humble_writes_what_is_not_finite(semantics):
    made = controller(semantics)
    bad = np.array([0.0, np.nan, np.inf])
    accepted = made.receive(bad) is None
    assert accepted == (semantics == "humble")
    np.testing.assert_array_equal(update(made), bad if accepted else HOLD)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_after_a_wrong_size_only_humble_obeys_again(semantics, count):
    made = controller(semantics)
    assert made.receive(np.zeros(count))
    np.testing.assert_array_equal(update(made), HOLD)
    made.receive(np.ones(3))
    expected = np.ones(3) if semantics == "humble" else HOLD
    np.testing.assert_array_equal(update(made), expected)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_the_last_command_is_held_for_ever(semantics):
    made = controller(semantics)
    made.receive(np.ones(3))
    np.testing.assert_array_equal([update(made) for _ in range(1000)], np.ones((1000, 3)))

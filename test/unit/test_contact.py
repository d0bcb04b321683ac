# SPDX-License-Identifier: Apache-2.0
"""An arm that pushes against something is stopped, and can be led away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_supervisor import OPTIONS, Rig, assert_good

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import Inputs, Measured
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.core.watchdogs import contact

LIMIT = np.array([10.0, 20.0, np.inf])
WATCHED = replace(OPTIONS, contact_effort=LIMIT)


def measured(effort: np.ndarray | None) -> Inputs:
    still = np.zeros(3)
    return Inputs(ros_offset_ns=0, measured=Measured(still, still, SteadyNs(0), effort))


def test_a_measured_effort_beyond_the_limit_pauses_a_policy():
    rig = Rig(options=WATCHED)
    rig.effort = np.array([3.0, -5.0, 99.0])
    rig.moving()
    rig.effort = np.array([3.0, -20.5, 99.0])
    assert rig.until(Mode.STOPPING) <= 10
    assert "lift pushes with -20.5 (contact_effort 20)" in rig.state.faults[Fault.CONTACT]
    assert rig.until(Mode.PAUSED) <= 700
    refused = rig.ask(Event.RESUME)
    assert not refused.accepted
    assert "pushes" in refused.message
    # A person leads it away.
    rig.target = rig.position.copy()
    assert rig.ask(Event.TAKEOVER).accepted
    rig.run(0.3)
    assert rig.mode is Mode.HUMAN
    rig.effort = np.array([3.0, -5.0, 99.0])
    rig.run(0.05)
    assert Fault.CONTACT not in rig.state.faults
    assert rig.ask(Event.HANDBACK).accepted
    assert_good(rig)


def test_a_driver_without_efforts_cannot_be_engaged_where_they_are_watched():
    rig = Rig(options=WATCHED)
    rig.run(0.3)
    assert rig.ask(Event.ARM).accepted
    rig.run(0.3)
    refused = rig.ask(Event.ENGAGE)
    assert "carry no effort" in refused.message


@pytest.mark.parametrize("effort", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_counts_as_too_much_where_it_is_watched(effort):
    assert contact(measured(np.array([0.0, effort, 0.0])), WATCHED)
    assert not contact(measured(np.array([0.0, 0.0, effort])), WATCHED)
    assert not contact(measured(np.array([0.0, effort, 0.0])), OPTIONS)


@given(st.lists(st.floats(-100.0, 100.0), min_size=3, max_size=3).map(np.array))
def test_whatever_is_within_is_no_contact_and_whatever_is_beyond_is(effort):
    assert bool(contact(measured(effort), WATCHED)) == bool(np.any(np.abs(effort) > LIMIT))

# SPDX-License-Identifier: Apache-2.0
"""The fault table is complete, and nothing is forgotten while its cause is there."""

from __future__ import annotations

import pytest

from levine_policy_node.core.faults import DEMAND, RESPONSES, Clears, Fault, Severity, cleared
from levine_policy_node.core.modes import MOVING, Mode


def test_every_fault_has_a_response_that_demands_a_stop():
    assert set(RESPONSES) == set(Fault)
    assert all(response.severity in DEMAND for response in RESPONSES.values())


def test_severity_is_an_order():
    assert list(Severity) == sorted(Severity)
    assert [s.name for s in Severity] == ["NOTICE", "PAUSE", "PSTOP", "FAULT", "ESTOP"]


def test_the_emergency_stop_counts_in_every_mode():
    for fault in (Fault.ESTOP_PRESSED, Fault.ESTOP_SILENT):
        assert RESPONSES[fault].modes == frozenset(Mode)


def test_losing_sight_of_the_arm_counts_wherever_it_may_move():
    for fault in (Fault.JOINT_STATES_LOST, Fault.TRACKING, Fault.FOREIGN_PUBLISHER):
        assert RESPONSES[fault].modes >= MOVING


def test_what_only_pauses_never_needs_a_reset():
    for response in RESPONSES.values():
        latches = response.clears in {Clears.ON_RESET, Clears.NEVER}
        assert latches == (response.severity > Severity.PAUSE)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_is_never_forgotten_while_its_cause_is_there(fault):
    assert not cleared(fault, seen=True, mode_changed=True, reset=True)
    clears = RESPONSES[fault].clears
    assert cleared(fault, seen=False, mode_changed=True, reset=True) is (
        clears is not Clears.NEVER
    )
    alone = cleared(fault, seen=False, mode_changed=False, reset=False)
    assert alone is (clears is Clears.WHEN_GONE)

# SPDX-License-Identifier: Apache-2.0
"""Who took the arm from the policy and why, from what the supervisor really says."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.faults import RESPONSES, Fault
from levine_policy_node.core.handovers import (
    Intervention,
    ModeChange,
    Trigger,
    losses,
    mode_changes,
    modes_alone,
    trigger_of_fault,
)
from levine_policy_node.core.message_bytes import Status
from levine_policy_node.core.modes import Mode


def status(name: str, text: str) -> Status:
    return Status(0, name, text, "safety_supervisor", {})


def mode(text: str) -> Status:
    return status("MODE", text)


def test_an_act_and_a_fault_are_told_apart():
    events = [
        (1, [mode("ARMED -> POLICY: operator: engage")]),
        (2, [status("CHUNK_SLOWED", "slowed 1.2 times")]),
        (
            3,
            [
                status("STARVED", "no chunk came in time: none for 0.5 s"),
                mode("POLICY -> STOPPING(PAUSED): none for 0.5 s"),
            ],
        ),
        (4, [mode("STOPPING(PAUSED) -> PAUSED: the arm stands")]),
        (5, [mode("PAUSED -> HUMAN: operator: takeover")]),
        (6, [mode("HUMAN -> POLICY: operator: handback")]),
    ]
    changes = mode_changes(events)
    assert [(c.time_ns, c.mode, c.trigger) for c in changes] == [
        (1, "POLICY", Trigger.HUMAN),
        (3, "STOPPING", Trigger.WATCHDOG),
        (4, "PAUSED", Trigger.UNKNOWN),
        (5, "HUMAN", Trigger.HUMAN),
        (6, "POLICY", Trigger.HUMAN),
    ]
    expected = Intervention(3, 5, 6, Trigger.WATCHDOG, "none for 0.5 s", "POLICY")
    assert losses(changes, 9) == (expected,)


def change(time_ns: int, name: str, cause: str = "", trigger=Trigger.UNKNOWN) -> ModeChange:
    return ModeChange(time_ns, name, cause, trigger)


def test_a_person_who_takes_over_at_once():
    taken = change(2, "HUMAN", "operator: takeover", Trigger.HUMAN)
    [found] = losses([change(1, "POLICY"), taken], 7)
    assert found == Intervention(2, 2, 7, Trigger.HUMAN, "operator: takeover", "")
    assert found.corrected


def test_an_emergency_stop_is_a_loss_without_a_correction():
    pressed = change(4, "ESTOP", "on", Trigger.ESTOP)
    [found] = losses([change(1, "POLICY"), pressed, change(6, "DISARMED")], 9)
    assert (found.trigger, found.corrected, found.onset_ns) == (Trigger.ESTOP, False, 4)


def test_a_demonstration_is_no_intervention():
    assert losses([change(1, "HUMAN"), change(5, "PAUSED"), change(6, "POLICY")], 9) == ()


def test_the_home_motion_is_no_correction():
    home = change(3, "HUMAN", "operator: home", Trigger.HUMAN)
    [found] = losses([change(1, "POLICY"), change(2, "PAUSED"), home, change(5, "PAUSED")], 9)
    assert not found.corrected


def test_going_on_after_a_pause_is_another_intervention_of_the_same_loss():
    changes = [(1, "POLICY"), (2, "HUMAN"), (3, "PAUSED"), (4, "HUMAN"), (5, "POLICY")]
    first, second = losses([change(*c) for c in changes], 9)
    assert (first.onset_ns, first.start_ns, first.end_ns) == (2, 2, 3)
    assert (second.onset_ns, second.start_ns, second.end_ns) == (2, 4, 5)


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_has_a_trigger(fault):
    assert fault in RESPONSES
    assert trigger_of_fault(fault.name) is not Trigger.UNKNOWN
    assert trigger_of_fault("NO_SUCH_FAULT") is Trigger.UNKNOWN


MODES = st.lists(st.sampled_from([m.value for m in Mode]), max_size=30)


@given(MODES)
def test_losses_are_in_order_and_within_the_recording(names):
    changes = modes_alone(enumerate(names))
    found = losses(changes, len(names))
    corrections = [i for i in found if i.corrected]
    for one in found:
        begin = one.onset_ns if one.start_ns is None else one.start_ns
        assert 0 < one.onset_ns <= begin <= one.end_ns <= len(names)
        assert names[one.onset_ns - 1] == "POLICY"
    for before, after in itertools.pairwise(corrections):
        assert before.end_ns <= after.start_ns
    # Every instant that a person drives after a policy has acted is in exactly one correction.
    for i, name in enumerate(names):
        covering = [c for c in corrections if c.start_ns <= i < c.end_ns]
        driven = name == "HUMAN" and "POLICY" in names[:i]
        assert len(covering) == int(driven), (i, names)

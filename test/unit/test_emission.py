# SPDX-License-Identifier: Apache-2.0
"""What one tick sends, in which mode, and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_acts import MS, NOW, moving
from test_supervisor import OPTIONS

from levine_policy_node.core.emission import Emission, emission, emission_trip
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import COMMANDING, LATCHED, MOVING, Mode
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.supervision import SupervisorState
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import SteadyNs

SINGLE = replace(OPTIONS, sends_windows=False)
NEVER = SteadyNs(NOW - 1000 * MS)


def at(mode: Mode, state=None, **changes) -> SupervisorState:
    state = moving([0.4, 0.0, 0.0]) if state is None else state
    return replace(state, mode=replace(state.mode, mode=mode), **changes)


def sends(state, before=None, options=OPTIONS) -> tuple[bool, bool]:
    """Whether a command and a window are sent."""
    sending = emission(state, before or state, NOW, options)
    if sending.command is not None:
        np.testing.assert_array_equal(sending.command.position, state.plan.sample(NOW).position)
    if sending.window is not None:
        assert sending.window_until_ns == NOW + 100 * MS
        middle = SteadyNs(NOW + 50 * MS)
        np.testing.assert_allclose(
            sending.window.sample(middle).position, state.plan.sample(middle).position, atol=1e-12
        )
    else:
        assert sending.window_until_ns == 0
    assert sending.rest is None
    return sending.command is not None, sending.window is not None


@pytest.mark.parametrize("mode", list(Mode))
def test_who_commands_sends_and_nobody_else(mode):
    state = at(mode, sent_ns=NEVER)
    commands = mode in COMMANDING
    assert sends(state) == (commands, commands)
    assert sends(state, options=SINGLE) == (commands, False)
    assert emission(replace(state, plan=None), state, NOW, OPTIONS) == Emission()


@pytest.mark.parametrize("mode", sorted(LATCHED - COMMANDING, key=str))
def test_a_moving_arm_that_latches_is_left_with_one_last_brake(mode):
    for before in Mode:
        last = before in MOVING
        state = at(mode, sent_ns=NEVER)
        assert sends(state, at(before, state)) == (False, last)
        # Single positions are held anyway.
        assert sends(state, at(before, state), SINGLE) == (False, False)


def test_a_window_is_sent_when_due_and_with_a_new_plan():
    state = at(Mode.POLICY, sent_ns=SteadyNs(NOW - 10 * MS))
    sent = replace(state, sent=state.plan.timeline)
    assert sends(sent) == (True, False)
    assert sends(replace(sent, sent_ns=SteadyNs(NOW - 20 * MS))) == (True, True)
    # None has been sent, or another plan.
    assert sends(state) == (True, True)
    other = replace(sent, plan=Plan(sent.plan.timeline, sent.plan.marks))
    assert sends(sent, other) == (True, True)
    assert sends(sent, other, SINGLE) == (True, False)


@pytest.mark.parametrize("options", [OPTIONS, SINGLE])
def test_after_a_clock_step_a_controller_is_told_to_rest_once(options):
    faults = {Fault.CLOCK_STEPPED: "the clock stepped"}
    state = at(Mode.STOPPING, sent_ns=NEVER, faults=faults)
    first = emission(state, replace(state, faults={}), NOW, options)
    assert (first.rest is not None) == options.sends_windows
    again = emission(state, state, NOW, options)
    for sending in (first, again):
        np.testing.assert_array_equal(sending.command.position, state.plan.sample(NOW).position)
        assert sending.window is None
    assert again.rest is None


def test_both_a_command_and_a_window_pass_the_gate():
    state = at(Mode.POLICY, sent_ns=NEVER)
    sending = emission(state, state, NOW, OPTIONS)
    before = SteadyNs(NOW - 10 * MS)
    told = replace(state, ticks=((int(before), state.plan.sample(before).position),))
    told = replace(told, sent=sending.window)
    assert emission_trip(sending, told, NOW, OPTIONS) == ""
    aside = JointPoint.at_rest(sending.command.position + 0.1)
    step = emission_trip(replace(sending, command=aside), told, NOW, OPTIONS)
    assert step == "command: lift: velocity 10 beyond its limit"
    jump = replace(sending.window, positions=sending.window.positions + 0.1)
    said = emission_trip(replace(sending, window=jump), told, NOW, OPTIONS)
    assert said.startswith("window: ")
    assert said.endswith(": position jumps by 0.1")
    assert emission_trip(Emission(), told, NOW, OPTIONS) == ""

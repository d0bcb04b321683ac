# SPDX-License-Identifier: Apache-2.0
"""What a tick brings about by itself: the end of the self-test, of a stop, of the way home."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_supervisor import LIMITS, OPTIONS, START
from test_watchdog_edges import NOTHING, NOW, STILL, ago, in_mode, measured

from levine_policy_node.core.endings import ending, ran_out
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.plan import STOP, Plan
from levine_policy_node.core.supervision import Heartbeat, SupervisorState
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import SteadyNs

STANDS = replace(NOTHING, measured=measured())
MOVES = replace(NOTHING, measured=measured(velocity=(1.0, 0.0, 0.0)))


def ends(state: SupervisorState, inputs=STANDS, was=None):
    return ending(state, was or state.mode, NOW, inputs, OPTIONS)


def test_the_self_test_passes_unless_a_fault_is_there_for_good():
    assert ends(in_mode(Mode.INIT)) == (Event.READY, "self-test passed")
    assert ends(in_mode(Mode.INIT, faults={Fault.ESTOP_PRESSED: "estop is true"})) == (
        Event.READY,
        "self-test passed",
    )
    assert ends(in_mode(Mode.INIT, faults={Fault.GATE_TRIPPED: "a step"})) is None


def test_a_stop_and_the_way_home_end_when_the_arm_stands():
    stopping, homing = in_mode(Mode.STOPPING), in_mode(Mode.HUMAN, homing=True)
    assert ends(stopping) == (Event.STANDSTILL, "the arm stands")
    assert ends(homing) == (Event.FINISHED, "home is reached")
    assert ends(stopping, MOVES) is None
    assert ends(homing, MOVES) is None
    assert ends(in_mode(Mode.HUMAN)) is None
    for mode in (Mode.ARMED, Mode.POLICY, Mode.PSTOP):
        assert ends(in_mode(mode, homing=True)) is None
    # What began with this tick is not over with it.
    assert ends(stopping, was=in_mode(Mode.POLICY).mode) is None


def test_an_arm_that_nobody_leads_any_more_is_disarmed():
    def paused(*, silent_ms, since_ms):
        state = in_mode(Mode.PAUSED, since_ns=ago(since_ms))
        heartbeat = None if silent_ms is None else Heartbeat(1, ago(silent_ms))
        return ends(state, replace(STANDS, heartbeat=heartbeat))

    assert paused(silent_ms=1000, since_ms=5000) is None
    told = (Event.ABANDONED, "no policy for 1.5 s in PAUSED")
    assert paused(silent_ms=1500, since_ms=5000) == told
    # Counted from when it was paused at the earliest.
    assert paused(silent_ms=5000, since_ms=1000) is None
    assert paused(silent_ms=5000, since_ms=1500) == told
    assert paused(silent_ms=None, since_ms=1500) == told
    assert paused(silent_ms=50, since_ms=5000) is None


def playing(source="policy:p@0#1", *, left_ms=500.0, braking=False) -> SupervisorState:
    """The policy's chunk is followed until so long after now, or its brake is."""
    times_s, still = np.array([0.0, 1.0]), np.zeros((2, 3))
    begin_ns = SteadyNs(ago(1000) + round(left_ms * 1e6))
    rows = np.tile(START, (2, 1))
    chunk = Timeline(LIMITS.names, begin_ns, times_s, rows, still, still, "policy:p@0#1")
    marks = ((int(begin_ns), source), *(((int(NOW), STOP),) if braking else ()))
    return in_mode(Mode.POLICY, plan=Plan(chunk, marks), reference=chunk, ticked_ns=ago(10))


@pytest.mark.parametrize("how", [{"left_ms": 0.0}, {"braking": True}])
def test_a_chunk_has_run_out_with_the_tick_that_leaves_it(how):
    state = playing(**how)
    assert ran_out(state, NOW) is state.reference
    assert ran_out(playing(), NOW) is None
    # Of another source it was a person's, and had been left before there is nothing new.
    assert ran_out(playing("operator:x", **how), NOW) is None
    assert ran_out(replace(state, ticked_ns=SteadyNs(NOW + 1)), NOW) is None
    for missing in ("plan", "ticked_ns", "reference"):
        assert ran_out(replace(state, **{missing: None}), NOW) is None
    assert ran_out(in_mode(Mode.PAUSED, state), NOW) is None


def test_nothing_ends_in_a_state_that_stands_and_waits():
    assert ends(STILL) == (Event.READY, "self-test passed")
    for mode in (Mode.DISARMED, Mode.ARMED, Mode.ESTOP, Mode.FAULT):
        assert ends(in_mode(mode)) is None

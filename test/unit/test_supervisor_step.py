# SPDX-License-Identifier: Apache-2.0
"""What a single tick makes of a state: said, latched, answered, remembered, word for word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_acts import MS, NOW, SOURCE, moving, standing
from test_chunk_following import chunk_of
from test_supervisor import OPTIONS, START
from test_supervisor_way import WALLED

from levine_policy_node.core.acts import prepare_chunk
from levine_policy_node.core.faults import Fault, Severity
from levine_policy_node.core.modes import Event, Mode, ModeState
from levine_policy_node.core.motions import stopped
from levine_policy_node.core.plan import HOLD, STOP, Plan
from levine_policy_node.core.reference import Rejected
from levine_policy_node.core.supervision import (
    BadChunk,
    Heartbeat,
    Inputs,
    Measured,
    Occurrence,
    Reply,
    Request,
    SupervisorState,
    Target,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.takeover import Handback, Lead
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.core.watch import Watch

LAST = SteadyNs(NOW - 10 * MS)
BEGUN = SteadyNs(NOW - 700 * MS)


def running(mode=Mode.POLICY, state=None, ends=None, **changes) -> SupervisorState:
    """Ticked 10 ms ago in a mode that has been for a while, with all its windows sent."""
    state = moving([0.2, 0.0, 0.0]) if state is None else state
    before = state.plan.sample(LAST).position
    window, until_ns = state.plan.window(LAST, SteadyNs(LAST + 100 * MS), OPTIONS.limits)
    return replace(
        state,
        **{
            "mode": ModeState(mode, ends),
            "since_ns": BEGUN,
            "ticked_ns": LAST,
            "ticks": ((int(LAST), before),),
            "sent": window,
            "sent_ns": LAST,
            "sent_until_ns": until_ns,
            "watch": Watch(count=3, advanced_ns=LAST),
            **changes,
        },
    )


def inputs(state: SupervisorState, **changes) -> Inputs:
    """Everything is heard and nothing is wrong."""
    at = state.plan.sample(NOW).position if state.plan is not None else START
    seen = Measured(at, np.zeros(3), SteadyNs(NOW - MS))
    fresh = {"ros_offset_ns": 0, "measured": seen, "heartbeat": Heartbeat(4, SteadyNs(NOW - MS))}
    return Inputs(**{**fresh, **changes})


def tick(state, now_ns=NOW, options=OPTIONS, **changes):
    return step(state, now_ns, inputs(state, **changes), options)


def notes(decision, *names) -> list[Occurrence]:
    return [o for o in decision.occurrences if not names or o.name in names]


def test_a_quiet_tick_says_nothing_and_goes_on():
    before = running(reference=moving([0.2, 0.0, 0.0]).plan.timeline)
    state, decision = tick(before)
    assert decision.occurrences == ()
    assert (decision.faults, decision.replies, decision.unprepared) == ({}, (), False)
    assert decision.mode is state.mode
    assert decision.source == "policy:p@0#1"
    np.testing.assert_array_equal(decision.command.position, before.plan.sample(NOW).position)
    assert decision.window is None
    assert (state.plan, state.sent, state.sent_ns) == (before.plan, before.sent, LAST)
    assert state.ticked_ns == NOW
    assert [t for t, _ in state.ticks] == [LAST, NOW]
    assert (state.watch.count, state.watch.advanced_ns) == (4, NOW - MS)


def test_a_window_that_is_due_is_sent_and_remembered():
    before = running(sent_ns=SteadyNs(NOW - 20 * MS))
    state, decision = tick(before)
    assert decision.window is not None
    assert state.sent is decision.window
    assert (state.sent_ns, state.sent_until_ns) == (NOW, NOW + 100 * MS)


def test_commands_of_a_while_are_remembered():
    position = START.copy()
    ticks = tuple((int(LAST) - 10 * MS * k, position) for k in range(199, -1, -1))
    state, _ = tick(running(Mode.ARMED, standing(), ticks=ticks))
    assert len(state.ticks) == 129
    assert state.ticks[-1][0] == NOW
    assert state.ticks[:-1] == ticks[-128:]
    # Where nothing is commanded, nothing was.
    state, decision = tick(running(Mode.DISARMED, standing(), ticks=ticks))
    assert (state.ticks, state.sent, decision.command) == ((), None, None)
    assert (decision.source, decision.proposal, decision.proposal_source) == ("", None, "")


@pytest.mark.parametrize(("gap_ms", "fault"), [(95.0, False), (100.0, False), (101.0, True)])
def test_a_tick_that_is_so_late_that_the_brake_began_goes_on_with_it(gap_ms, fault):
    before = running()
    ticked_ns = SteadyNs(NOW - round(gap_ms * MS))
    late = replace(before, ticked_ns=ticked_ns, sent_until_ns=NOW + 39 * MS)
    state, decision = tick(late)
    said = Occurrence("OVERRUN", Severity.NOTICE, f"{gap_ms:.0f} ms in one tick")
    assert notes(decision)[0] == said
    assert decision.unprepared == (not fault)
    np.testing.assert_array_equal(decision.command.position, before.sent.sample(NOW).position)
    assert [t for t, _ in state.ticks] == [NOW]
    evidence = {Fault.OVERRUN: "101 ms between two ticks"} if fault else {}
    assert decision.faults == evidence
    assert (state.mode.mode is Mode.STOPPING) == fault


def test_an_overrun_stops_a_person_at_once():
    lead = lead_of(START)
    late = running(Mode.HUMAN, ticked_ns=SteadyNs(NOW - 95 * MS), sent_until_ns=NOW, lead=lead)
    _, decision = tick(late, target=Target(START, SOURCE, NOW))
    assert decision.faults == {Fault.OVERRUN: "95 ms between two ticks"}


def lead_of(goal) -> Lead:
    still = np.zeros(3)
    return Lead(SOURCE, NOW, goal, still == 0.0, still, still.astype(np.int64), still + np.inf)


def test_a_gap_is_told_in_milliseconds():
    late = running(ticked_ns=SteadyNs(NOW - 3000 * MS), sent_until_ns=NOW)
    _, decision = tick(late)
    assert notes(decision, "OVERRUN")[0].text == "3000 ms in one tick"
    assert decision.faults[Fault.OVERRUN] == "3000 ms between two ticks"


def test_after_a_clock_step_the_rest_is_told():
    step_ns = 60 * MS
    state, decision = tick(running(), ros_offset_ns=step_ns)
    assert set(decision.faults) == {Fault.CLOCK_STEPPED}
    assert decision.window is None
    np.testing.assert_array_equal(decision.rest.position, state.plan.timeline.positions[-1])
    assert decision.offset_ns == state.offset_ns


def test_the_first_tick_is_not_late():
    state, decision = step(SupervisorState(), NOW, inputs(standing()), OPTIONS)
    assert decision.faults == {}
    assert notes(decision) == [
        Occurrence("MODE", Severity.NOTICE, "INIT -> DISARMED: self-test passed")
    ]
    assert state.since_ns == NOW


def test_a_late_tick_of_single_positions_asks_for_its_chunk_again():
    single = replace(OPTIONS, sends_windows=False)
    late = running(ticked_ns=SteadyNs(NOW - 16 * MS))
    state, decision = tick(late, options=single)
    assert decision.unprepared
    assert [t for t, _ in state.ticks] == [NOW]
    assert state.plan.timeline.start_ns == late.plan.timeline.start_ns + 6 * MS


def test_chunks_that_cannot_be_read_are_told_and_counted():
    bad = (BadChunk("no joints"), BadChunk("no rows"))
    state, decision = tick(running(), chunks=bad[:1])
    assert notes(decision) == [Occurrence("BAD_CHUNK", Severity.NOTICE, "no joints")]
    assert state.watch.bad_chunks == 1
    state, decision = tick(running(), chunks=bad)
    text = f"{Fault.BAD_CHUNKS.value}: 2 unusable chunks in a row"
    assert Occurrence("BAD_CHUNKS", Severity.PSTOP, text) in notes(decision)
    good = chunk_of(running())
    state, decision = tick(running(watch=Watch(bad_chunks=1)), chunks=(good,))
    assert state.watch.bad_chunks == 0
    assert state.reference.source == "policy:p@0#2"
    state, _ = tick(running(watch=Watch(bad_chunks=1)), chunks=(good, bad[0]))
    assert state.watch.bad_chunks == 1


@pytest.mark.parametrize(("mode", "held"), [(Mode.POLICY, True), (Mode.DISARMED, False)])
def test_times_of_chunks_are_read_with_the_clock_that_is_held(mode, held):
    before = running(mode, offset_ns=10 * MS)
    chunk = chunk_of(before)
    state, _ = tick(before, chunks=(chunk,), ros_offset_ns=20 * MS)
    assert state.reference.start_ns == chunk.start_ns - (10 if held else 20) * MS


def test_a_chunk_that_cannot_be_meant_is_told():
    before = running()
    late = replace(chunk_of(before), start_ns=SteadyNs(NOW - 9000 * MS))
    state, decision = tick(before, chunks=(late,))
    said = Occurrence("CHUNK_REFUSED", Severity.NOTICE, "the chunk ended 7.50 s ago")
    assert notes(decision) == [said]
    assert state.reference is None


def test_chunks_from_before_a_handback_are_dead():
    handed = Handback("policy:p@0#2", SteadyNs(NOW - 100 * MS))
    before = running(handed=handed)
    old = chunk_of(before)
    state, _ = tick(before, chunks=(old,))
    assert (state.reference, state.handed) == (None, handed)
    new = replace(old, source="policy:p@1#0")
    state, _ = tick(before, chunks=(old, new))
    assert (state.reference.source, state.handed) == ("policy:p@1#0", None)
    # A policy without epochs is heard again once it begins later.
    later = replace(old, start_ns=SteadyNs(NOW + 150 * MS))
    state, _ = tick(before, chunks=(later,))
    assert (state.reference.source, state.handed) == ("policy:p@0#2", None)


def prepared_for(before: SupervisorState, **followed):
    prepared = prepare_chunk(chunk_of(before), before, NOW, OPTIONS)
    if "reason" in followed:
        return replace(prepared, followed=Rejected(**followed))
    return replace(prepared, followed=replace(prepared.followed, **followed))


def test_a_prepared_chunk_is_followed_and_what_was_done_to_it_told():
    before = running()
    prepared = prepared_for(before, slowed="0.8 times as fast", cut="a wall in 0.3 s")
    state, decision = tick(before, chunks=(prepared,))
    assert state.plan is prepared.followed.plan
    assert state.reference is prepared.reference
    assert notes(decision) == [
        Occurrence("CHUNK_SLOWED", Severity.NOTICE, "0.8 times as fast"),
        Occurrence("CHUNK_CUT", Severity.NOTICE, "a wall in 0.3 s"),
    ]
    assert not decision.unprepared
    _, decision = tick(before, chunks=(prepared_for(before),))
    assert notes(decision) == []
    # Whoever is not led by the policy follows nothing.
    paused = replace(before, mode=ModeState(Mode.PAUSED))
    state, _ = tick(paused, chunks=(prepared,))
    assert state.plan is before.plan
    assert state.reference is prepared.reference


def test_a_chunk_prepared_for_another_plan_is_asked_for_again():
    before = running()
    prepared = replace(prepared_for(before), before=replace(before.plan))
    state, decision = tick(before, chunks=(prepared,))
    assert decision.unprepared is True
    assert state.plan is before.plan
    assert state.reference.source == "policy:p@0#2"
    assert notes(decision) == []


def test_what_is_in_the_way_is_told_and_pauses_if_it_can_be_hit():
    before = running()
    for blocked in (False, True):
        prepared = prepared_for(before, reason="a wall", on_its_way=True, blocked=blocked)
        state, decision = tick(before, chunks=(prepared,))
        told = Occurrence("CHUNK_REFUSED", Severity.NOTICE, "a wall")
        assert notes(decision)[0] == told
        assert decision.faults == ({Fault.BLOCKED: "a wall"} if blocked else {})
        assert (state.mode.mode is Mode.STOPPING) == blocked


def test_what_is_gone_is_forgotten_as_its_kind_is():
    faults = {
        Fault.POLICY_LOST: "gone",
        Fault.CONTACT: "gone",
        Fault.STARVED: "until the next mode",
        Fault.TRACKING: "until a reset",
    }
    lost = Heartbeat(3, SteadyNs(NOW - 150 * MS))
    state, decision = tick(running(Mode.PAUSED, standing(), faults=faults), heartbeat=lost)
    assert set(state.faults) == {Fault.POLICY_LOST, Fault.STARVED, Fault.TRACKING}
    assert decision.occurrences == ()
    state, _ = tick(running(Mode.PAUSED, standing(), faults=faults))
    assert set(state.faults) == {Fault.STARVED, Fault.TRACKING}


def test_the_worst_of_what_is_seen_decides_and_only_what_is_new_is_told():
    state, decision = tick(
        running(faults={Fault.CONTACT: "before"}),
        seen={Fault.CONTACT: "a push", Fault.TRACKING: "pan lags"},
        publishers=2,
    )
    two = "2 publishers on the controller's command topic, 1 allowed"
    assert decision.faults == {
        Fault.CONTACT: "a push",
        Fault.TRACKING: "pan lags",
        Fault.FOREIGN_PUBLISHER: two,
    }
    assert state.mode == ModeState(Mode.STOPPING, Mode.FAULT)
    assert sorted(notes(decision), key=lambda o: o.name) == [
        Occurrence("FOREIGN_PUBLISHER", Severity.FAULT, f"{Fault.FOREIGN_PUBLISHER.value}: {two}"),
        Occurrence("MODE", Severity.NOTICE, f"POLICY -> {state.mode}: {two}"),
        Occurrence("TRACKING", Severity.PSTOP, f"{Fault.TRACKING.value}: pan lags"),
    ]


def test_an_act_is_carried_out_or_refused_with_its_number():
    state, decision = tick(running(), requests=(Request(Event.PAUSE, 7), Request(Event.ARM, 8)))
    now = ModeState(Mode.STOPPING, Mode.PAUSED)
    refused = Reply(8, accepted=False, message=f"arm is not possible in {now}: ")
    assert decision.replies[0] == Reply(7, accepted=True, message=str(now))
    assert (decision.replies[1].number, decision.replies[1].accepted) == (8, False)
    assert decision.replies[1].message.startswith(refused.message)
    assert notes(decision) == [
        Occurrence("MODE", Severity.NOTICE, f"POLICY -> {now}: operator: pause")
    ]
    assert (state.mode, state.since_ns) == (now, NOW)
    assert state.plan.marks[-1][1] == STOP
    # What is not permitted is refused with its reason, and nothing changes.
    idle = running(Mode.ARMED, standing())
    state, decision = tick(idle, requests=(Request(Event.ENGAGE, 9),))
    said = "engage refused: no usable policy/action_chunk has been received"
    assert decision.replies == (Reply(9, accepted=False, message=said),)
    assert state.mode == idle.mode


def test_leaving_the_motion_ends_what_belonged_to_it():
    before = running(
        Mode.HUMAN,
        lead=lead_of(START),
        target=START,
        homing=True,
        handed=Handback("p", NOW),
        blocked="a wall",
        watch=Watch(count=4, advanced_ns=LAST, starving_ns=LAST, tracking_since_ns=LAST),
        faults={Fault.STARVED: "before", Fault.TRACKING: "before"},
    )
    fresh = Target(START, SOURCE, NOW)
    state, _ = tick(before, requests=(Request(Event.PAUSE),), target=fresh)
    assert (state.lead, state.target, state.homing, state.handed) == (None, None, False, None)
    assert (state.blocked, state.watch.starving_ns, state.watch.tracking_since_ns) == (
        "",
        None,
        None,
    )
    assert set(state.faults) == {Fault.TRACKING}
    expected = stopped(before.plan, NOW, OPTIONS)
    np.testing.assert_array_equal(state.plan.timeline.positions, expected.timeline.positions)


def test_a_stop_while_disarmed_forgets_where_the_arm_was():
    before = running(Mode.DISARMED, standing())
    state, _ = tick(before, requests=(Request(Event.STOP),))
    assert state.mode.mode is Mode.PSTOP
    assert state.plan is None
    armed, _ = tick(running(Mode.ARMED, standing()), requests=(Request(Event.STOP),))
    assert armed.plan is not None


def test_a_demand_that_changes_no_mode_keeps_since_when_it_is():
    stopping = running(Mode.STOPPING, ends=Mode.PAUSED)
    state, _ = tick(stopping, seen={Fault.TRACKING: "pan lags"})
    assert state.mode == ModeState(Mode.STOPPING, Mode.PSTOP)
    assert state.since_ns == BEGUN
    later_ns = SteadyNs(NOW + 10 * MS)
    again, decision = tick(state, later_ns, seen={Fault.TRACKING: "pan lags"})
    assert again.mode == state.mode
    assert decision.occurrences == ()


def test_a_device_leads_the_arm_when_a_window_is_due():
    goal = START + np.array([0.0, 0.2, 0.0])
    before = running(Mode.HUMAN, standing(), lead=lead_of(START), target=START)
    due = replace(before, sent_ns=SteadyNs(NOW - 20 * MS))
    state, decision = tick(due, target=Target(goal, SOURCE, NOW))
    np.testing.assert_allclose(state.target, goal)
    np.testing.assert_allclose(state.plan.timeline.positions[-1], goal, atol=1e-9)
    assert (decision.source, decision.proposal_source) == (HOLD, SOURCE)
    np.testing.assert_allclose(decision.proposal.position, goal)
    # Else it is noted where it leads, and the next window goes there.
    state, _ = tick(before, target=Target(goal, SOURCE, NOW))
    assert state.plan is before.plan
    np.testing.assert_allclose(state.lead.goal, goal)
    # One that says what it said changes nothing; nor does another one, or none.
    for target in (Target(START, SOURCE, NOW), Target(goal, "operator:other", NOW), None):
        state, _ = tick(replace(due, homing=target is None), target=target)
        assert state.plan is before.plan


def test_what_cuts_a_target_and_a_chunk_that_ran_out_are_told_once():
    before = running(Mode.HUMAN, standing(), lead=lead_of(START), target=START, blocked="a wall")
    _, decision = tick(before, target=Target(START, SOURCE, NOW))
    assert notes(decision, "TARGET_CUT") == []
    behind = Target(START + np.array([0.6, 0.0, 0.0]), SOURCE, NOW)
    due = replace(before, blocked="", sent_ns=SteadyNs(NOW - 20 * MS))
    state, decision = tick(due, options=WALLED, target=behind)
    assert state.blocked != ""
    assert notes(decision) == [Occurrence("TARGET_CUT", Severity.NOTICE, state.blocked)]
    chunk = moving([0.0, 0.0, 0.0]).plan.timeline
    over = replace(chunk, start_ns=SteadyNs(NOW - 2000 * MS), source="policy:p@0#1")
    played = SupervisorState(plan=Plan(over, ((int(over.start_ns), "policy:p@0#1"),)))
    state, decision = tick(running(Mode.POLICY, played, reference=over))
    text = "the newest chunk is over; braking. It began 2.00 s ago and lasted 2.00 s"
    assert notes(decision, "STARVED") == [Occurrence("STARVED", Severity.NOTICE, text)]
    assert state.watch.starving_ns == NOW


def test_what_the_gate_refuses_is_not_sent():
    # Somebody has moved the plan: it is elsewhere than what was commanded.
    before = running()
    aside = replace(before.plan.timeline, positions=before.plan.timeline.positions + 0.05)
    state, decision = tick(replace(before, plan=replace(before.plan, timeline=aside)))
    assert (decision.command, decision.window) == (None, None)
    assert set(decision.faults) == {Fault.GATE_TRIPPED}
    assert decision.faults[Fault.GATE_TRIPPED].startswith("command: ")
    assert state.sent is before.sent
    assert state.plan.timeline is before.sent
    assert state.mode.target is Mode.FAULT

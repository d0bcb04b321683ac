# SPDX-License-Identifier: Apache-2.0
"""Takeovers: where a device leads the arm, and the supervisor's ticks around it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_supervisor import LIMITS, OPTIONS, START, Rig, assert_good

from levine_policy_node.core.dead_man import Act, DeadMan
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.takeover import (
    FADING,
    RELATIVE,
    Handback,
    TakeoverOptions,
    Target,
    led_on,
    misaligned,
    taken_by,
)
from levine_policy_node.core.units import SteadyNs

MS = 1_000_000
ANYWHERE = st.lists(st.floats(-0.95, 0.95), min_size=3, max_size=3).map(
    lambda shares: LIMITS.lower + (0.5 + 0.5 * np.array(shares)) * (LIMITS.upper - LIMITS.lower)
)


def said(position, source="operator:leader", now_ns=0) -> Target:
    return Target(np.asarray(position, dtype=float), source, SteadyNs(now_ns))


@settings(max_examples=25)
@given(ANYWHERE, ANYWHERE, ANYWHERE)
def test_an_absolute_device_begins_where_the_arm_stops_and_ends_where_it_is(rest, begin, end):
    lead = taken_by(said(begin), rest, SteadyNs(0), LIMITS, FADING)
    np.testing.assert_allclose(lead.goal, rest, atol=1e-12)
    fastest = np.zeros(3)
    goal = lead.goal
    for ms in range(10, 20_000, 10):
        # The device itself stands still: what moves the arm is the fade alone.
        lead = led_on(lead, said(begin, now_ns=ms * MS), SteadyNs(ms * MS), LIMITS, FADING)
        fastest = np.maximum(fastest, np.abs(lead.goal - goal) / 0.01)
        goal = lead.goal
        if np.allclose(goal, begin, atol=1e-9):
            break
    assert np.all(fastest <= FADING.fade_share * LIMITS.velocity * 1.001 + 1e-9)
    lead = led_on(lead, said(end), SteadyNs(60_000 * MS), LIMITS, FADING)
    np.testing.assert_allclose(lead.goal, end, atol=1e-9)


@settings(max_examples=100)
@given(ANYWHERE, st.lists(ANYWHERE, min_size=1, max_size=10))
def test_a_relative_device_moves_the_arm_by_its_changes_only(rest, path):
    away = 5.0
    source = f"operator:gamepad{RELATIVE}"
    lead = taken_by(said(path[0] + away, source), rest, SteadyNs(0), LIMITS, FADING)
    np.testing.assert_allclose(lead.goal, rest, atol=1e-9)
    expected = rest
    for k, (before, here) in enumerate(itertools.pairwise(path), start=1):
        lead = led_on(lead, said(here + away, source), SteadyNs(k * MS), LIMITS, FADING)
        # At an end of the range it stands, and the way back begins at once.
        expected = np.clip(expected + here - before, LIMITS.lower, LIMITS.upper)
        np.testing.assert_allclose(lead.goal, expected, atol=1e-9)


@settings(max_examples=100)
@given(ANYWHERE, ANYWHERE, st.lists(st.booleans(), min_size=3, max_size=3), st.booleans())
def test_a_joint_that_is_not_named_is_held_and_one_named_later_is_taken_over(
    rest, begin, named, relative
):
    source = "operator:leader" + (RELATIVE if relative else "")
    part = np.where(named, begin, np.nan)
    lead = taken_by(said(part, source), rest, SteadyNs(0), LIMITS, FADING)
    moved = np.clip(part + 0.1, LIMITS.lower, LIMITS.upper)
    lead = led_on(lead, said(moved, source), SteadyNs(50 * MS), LIMITS, FADING)
    held = ~np.array(named)
    np.testing.assert_array_equal(lead.goal[held], rest[held])
    whole = np.where(named, moved, begin)
    after = led_on(lead, said(whole, source), SteadyNs(50 * MS), LIMITS, FADING)
    np.testing.assert_allclose(after.goal, lead.goal, atol=1e-9)


def test_another_device_is_not_listened_to():
    lead = taken_by(said(START), START, SteadyNs(0), LIMITS, FADING)
    assert led_on(lead, said(START + 1.0, "operator:other"), SteadyNs(MS), LIMITS, FADING) is lead


def test_what_is_not_aligned_is_named_with_figures():
    strict = TakeoverOptions(tolerance=0.1)
    far = START + np.array([0.0, 0.3, 0.0])
    text = misaligned(said(far), START, LIMITS.names, strict)
    assert "lift of operator:leader is 0.300 from the arm (limit 0.1)" in text
    assert misaligned(said(far), START, LIMITS.names, FADING) == ""
    assert misaligned(said(far, f"operator:x{RELATIVE}"), START, LIMITS.names, strict) == ""
    assert misaligned(said([START[0], np.nan, np.nan]), START, LIMITS.names, strict) == ""


def test_a_device_may_be_apart_by_the_tolerance():
    options = TakeoverOptions(tolerance=0.25)
    near = said([0.0, 0.25, 0.0])
    assert misaligned(near, np.zeros(3), LIMITS.names, options) == ""
    apart = said([0.0, 0.26, 0.0])
    assert misaligned(apart, np.zeros(3), LIMITS.names, options) != ""


def test_times_of_a_lead_are_whole_nanoseconds():
    # Half a year on the steady clock is more than a double can count in them.
    now_ns = SteadyNs(2**54 + 1)
    lead = taken_by(said([np.nan, 0.3, np.nan]), START, now_ns, LIMITS, FADING)
    assert lead.since_ns.tolist() == [0, now_ns, 0]


def test_an_absolute_device_is_heard_within_the_range_and_keeps_its_offset():
    beyond = LIMITS.upper + 5.0
    lead = taken_by(said(beyond), START, SteadyNs(0), LIMITS, FADING)
    np.testing.assert_allclose(lead.offset, START - LIMITS.upper)
    for at_ms in (50, 100):
        now_ns = SteadyNs(at_ms * MS)
        on = led_on(lead, said(LIMITS.lower - 5.0, now_ns=at_ms * MS), now_ns, LIMITS, FADING)
        np.testing.assert_array_equal(on.offset, lead.offset)
        assert on.heard_ns == at_ms * MS
        left = 1.0 - sum(
            c * (at_ms / 1e3 / lead.fade_s) ** n for n, c in ((3, 10), (4, -15), (5, 6))
        )
        wanted = np.clip(LIMITS.lower + left * lead.offset, LIMITS.lower, LIMITS.upper)
        np.testing.assert_allclose(on.goal, wanted)


def test_chunks_of_the_old_epoch_are_dead_until_one_begins_after_the_handback():
    handed = Handback("policy:a@0#3", SteadyNs(100 * MS))
    assert handed.kills("policy:a@0#3", 99 * MS)
    # What was on its way begins a little later.
    assert handed.kills("policy:a@0#3", 300 * MS)
    assert not handed.kills("policy:a@0#4", 50 * MS)
    assert not handed.kills("policy:a@0#3", 350 * MS)


# Ticks of the supervisor.


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize("kind", ["", RELATIVE])
def test_the_policy_is_cut_in_the_tick_of_the_takeover_and_nothing_turns_back(windows, kind):
    rig = Rig(options=replace(OPTIONS, sends_windows=windows), source=f"operator:x{kind}").moving()
    before = rig.decisions[-1].command
    rig.target = START + 0.2
    assert rig.ask(Event.TAKEOVER).accepted
    # All that the policy still has is what the controller was given before.
    lead_ns = int(0.045e9) if windows else MS
    assert rig.state.plan.source(SteadyNs(rig.now_ns + lead_ns)) == f"operator:x{kind}"
    rest = rig.state.lead.goal
    stopping = rest - before.position
    assert np.all(stopping * before.velocity >= -1e-9)
    assert rig.decisions[-1].proposal_source == f"operator:x{kind}"
    if kind == RELATIVE:
        rig.run(1.0)
        np.testing.assert_allclose(rig.decisions[-1].command.position, rest, atol=1e-9)
    else:
        rig.run(4.0)
        np.testing.assert_allclose(rig.decisions[-1].command.position, rig.target, atol=1e-6)
    assert_good(rig)


def test_a_leader_that_is_not_aligned_is_refused_by_choice():
    rig = Rig(options=replace(OPTIONS, takeover=TakeoverOptions(tolerance=0.1))).moving()
    rig.target = rig.position + np.array([0.0, 0.4, 0.0])
    assert "bring it nearer" in rig.ask(Event.TAKEOVER).message
    assert rig.mode is Mode.POLICY
    rig.target = rig.position + 0.02
    assert rig.ask(Event.TAKEOVER).accepted


def test_only_the_gripper_is_taken_over():
    rig = Rig().moving()
    rig.target = np.array([np.nan, np.nan, rig.position[2]])
    assert rig.ask(Event.TAKEOVER).accepted
    rest = rig.state.lead.goal
    rig.run(0.5)
    rig.target = np.array([np.nan, np.nan, 1.2])
    rig.run(3.0)
    last = rig.decisions[-1].command.position
    np.testing.assert_allclose(last[:2], rest[:2], atol=1e-9)
    assert last[2] == pytest.approx(1.2)
    assert_good(rig)


def test_the_dead_man_is_the_one_of_the_device_that_took_over():
    rig = Rig().moving()
    rig.target = rig.position.copy()
    assert rig.ask(Event.TAKEOVER).accepted
    rig.run(0.3)
    rig.source = "operator:other"
    assert rig.until(Mode.STOPPING) <= 100
    assert "operator:test" in rig.state.faults[Fault.OPERATOR_LOST]
    assert_good(rig)


def hand_back_while_moving(rig: Rig) -> None:
    """A person takes over, leads the first joint on, and hands back to a policy that is silent."""
    rig.target = rig.position.copy()
    assert rig.ask(Event.TAKEOVER).accepted
    for _ in range(60):
        rig.target = rig.target + np.array([0.004, 0.0, 0.0])
        rig.tick()
    rig.chunks = False
    assert rig.ask(Event.HANDBACK).accepted


@pytest.mark.parametrize("windows", [True, False])
def test_after_a_handback_the_old_chunks_are_dead_and_the_motion_goes_on(windows):
    rig = Rig(options=replace(OPTIONS, sends_windows=windows)).moving()
    hand_back_while_moving(rig)
    assert rig.mode is Mode.POLICY
    assert rig.state.reference is None
    # Until the policy has planned anew, what the person began goes on, at its velocity.
    assert rig.decisions[-1].command.velocity[0] > 0.1
    rig.run(0.05)
    assert rig.decisions[-1].source == "operator:test"
    rig.chunks = True
    rig.run(0.5)
    assert rig.decisions[-1].source.startswith("policy:")
    assert_good(rig)


def test_a_person_whose_motion_ends_before_a_chunk_is_followed_is_no_starved_policy():
    rig = Rig().moving()
    hand_back_while_moving(rig)
    # A chunk has come, and is still being prepared.
    rig.state = replace(rig.state, handed=None)
    rig.run(0.3)
    assert rig.state.plan.stopping(rig.now_ns)
    assert rig.events("STARVED") == 0


def test_a_policy_that_never_answers_a_handback_pauses():
    rig = Rig().moving()
    rig.target = rig.position.copy()
    assert rig.ask(Event.TAKEOVER).accepted
    rig.run(0.5)
    rig.chunks = False
    rig.options = replace(OPTIONS, inference_stall_s=0.7)
    assert rig.ask(Event.HANDBACK).accepted
    assert rig.until(Mode.STOPPING) <= 1300


# The dead-man of devices.


def test_a_press_takes_over_and_a_release_stands():
    state, act = DeadMan().next(held=True, mode="POLICY")
    assert act is Act.TAKEOVER
    state, act = state.next(held=True, mode="HUMAN")
    assert act is None
    assert state.leading
    state, act = state.next(held=False, mode="HUMAN")
    assert act is Act.PAUSE
    assert state.next(held=False, mode="STOPPING")[1] is None


def test_a_press_asks_until_it_is_granted_and_is_good_for_one_takeover():
    state, act = DeadMan().next(held=True, mode="STOPPING")
    assert act is None
    state, act = state.next(held=True, mode="PAUSED")
    assert act is Act.TAKEOVER
    state, act = state.next(held=True, mode="HUMAN", acts=frozenset({Act.HANDBACK}))
    assert act is Act.HANDBACK
    for mode in ("POLICY", "STOPPING", "PAUSED"):
        state, act = state.next(held=True, mode=mode)
        assert act is None
    state, act = state.next(held=False, mode="PAUSED")
    assert act is None
    assert state.next(held=True, mode="PAUSED")[1] is Act.TAKEOVER


EVENTS = st.tuples(
    st.booleans(),
    st.sampled_from(["INIT", "DISARMED", "ARMED", "PAUSED", "POLICY", "HUMAN", "STOPPING"]),
    st.sets(st.sampled_from([Act.HANDBACK, Act.PAUSE, Act.STOP]), max_size=2).map(frozenset),
)


@given(st.lists(EVENTS, max_size=30))
def test_nothing_but_a_held_dead_man_asks_for_motion(events):
    state = DeadMan()
    for held, mode, acts in events:
        state, act = state.next(held=held, mode=mode, acts=acts)
        if act in {Act.TAKEOVER, Act.HANDBACK}:
            assert held
        if act is Act.HANDBACK:
            assert Act.HANDBACK in acts
            assert mode == "HUMAN"
        if Act.STOP in acts:
            assert act is Act.STOP

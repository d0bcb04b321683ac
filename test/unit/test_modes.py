# SPDX-License-Identifier: Apache-2.0
"""The mode table, explored exhaustively: every mode, every event, every path."""

from __future__ import annotations

from collections import deque

import pytest

from levine_policy_node.core.faults import DEMAND
from levine_policy_node.core.modes import (
    ACTIVE,
    ACTS,
    DEMANDS,
    LATCHED,
    MOVING,
    STOP_ORDER,
    TRANSITIONS,
    Event,
    Mode,
    ModeState,
    next_mode,
    refusal,
)

BOOT = ModeState(Mode.INIT)


def explore() -> dict[ModeState, dict[Event, ModeState]]:
    """Every reachable mode state with what each event makes of it."""
    graph: dict[ModeState, dict[Event, ModeState]] = {}
    waiting = deque([BOOT])
    while waiting:
        state = waiting.popleft()
        if state in graph:
            continue
        moves = {event: next_mode(state, event) for event in Event}
        graph[state] = {event: new for event, new in moves.items() if new is not None}
        waiting.extend(graph[state].values())
    return graph


GRAPH = explore()
EDGES = [(s, e, n) for s, moves in GRAPH.items() for e, n in moves.items()]


def test_every_mode_and_every_stop_target_is_reachable():
    assert {s.mode for s in GRAPH} == set(Mode)
    targets = {s.target for s in GRAPH if s.mode is Mode.STOPPING}
    assert targets == {Mode.PAUSED, Mode.DISARMED, Mode.PSTOP, Mode.FAULT}
    assert all((s.target is None) == (s.mode is not Mode.STOPPING) for s in GRAPH)


def test_disarmed_is_reachable_from_everywhere():
    for start in GRAPH:
        seen, waiting = set(), [start]
        while waiting:
            state = waiting.pop()
            if state not in seen:
                seen.add(state)
                waiting.extend(GRAPH[state].values())
        assert ModeState(Mode.DISARMED) in seen


def test_an_emergency_stop_is_obeyed_in_every_mode():
    for _state, event, new in EDGES:
        if event is Event.DEMAND_ESTOP:
            assert new.mode is Mode.ESTOP
    assert all(
        Event.DEMAND_ESTOP in moves or state.mode is Mode.ESTOP for state, moves in GRAPH.items()
    )


def test_a_latch_opens_only_by_reset():
    rank = {Mode.PSTOP: 0, Mode.FAULT: 1, Mode.ESTOP: 2}
    for state, event, new in EDGES:
        if state.mode in LATCHED and new.mode not in LATCHED:
            assert event is Event.RESET
            assert new.mode in {Mode.INIT, Mode.DISARMED}
        if state.mode in LATCHED and new.mode in LATCHED:
            assert rank[new.mode] >= rank[state.mode]


def test_motion_begins_only_by_an_operators_act():
    for state, event, new in EDGES:
        if state.mode not in MOVING and new.mode in MOVING:
            assert event in {Event.ENGAGE, Event.RESUME, Event.HOME, Event.TAKEOVER}
            assert new.mode in ACTIVE


def test_motion_ends_only_through_stopping_or_a_latch():
    for state, _, new in EDGES:
        if state.mode in ACTIVE and new.mode not in ACTIVE:
            assert new.mode in {Mode.STOPPING, Mode.ESTOP}


def test_stopping_never_returns_to_motion_and_never_softens():
    for state, event, new in EDGES:
        if state.mode is not Mode.STOPPING:
            continue
        assert new.mode not in ACTIVE
        if new.mode is Mode.STOPPING:
            assert STOP_ORDER.index(new.target) >= STOP_ORDER.index(state.target)
        else:
            assert (event is Event.STANDSTILL and new.mode is state.target) or (
                event is Event.DEMAND_ESTOP
            )


def test_from_boot_or_a_latch_to_motion_takes_two_acts():
    def acts_to_motion(start: ModeState) -> int:
        best, waiting = {start: 0}, deque([start])
        while waiting:
            state = waiting.popleft()
            for event, new in GRAPH[state].items():
                cost = best[state] + (event in ACTS and event is not Event.RESET)
                if cost < best.get(new, 99):
                    best[new] = cost
                    waiting.append(new)
        return min(cost for state, cost in best.items() if state.mode in ACTIVE)

    for mode in (Mode.INIT, Mode.DISARMED, *LATCHED):
        assert acts_to_motion(ModeState(mode)) >= 2


def test_faults_and_the_supervisor_never_start_motion():
    for state, event, new in EDGES:
        if event not in ACTS:
            assert not (new.mode in ACTIVE and state.mode not in ACTIVE)


def test_a_protective_stop_is_possible_in_every_mode_but_init():
    for state, moves in GRAPH.items():
        assert Event.STOP in moves or state.mode is Mode.INIT


@pytest.mark.parametrize("state", list(GRAPH), ids=str)
def test_a_refused_act_changes_nothing_and_says_what_to_do(state):
    for act in ACTS - set(GRAPH[state]):
        text = refusal(state, act)
        assert act.value in text
        assert str(state) in text
        assert len(text.split(":")[-1]) > 10


def test_the_table_holds_no_row_that_cannot_happen():
    used = {(s.mode, e) for s, e, _ in EDGES}
    assert set(TRANSITIONS) <= used
    assert set(DEMAND.values()) == DEMANDS

# SPDX-License-Identifier: Apache-2.0
"""The mode table by itself; test_supervisor_exploration.py explores the machine it belongs to."""

from __future__ import annotations

import runpy
from collections import deque

import pytest

from levine_policy_node.core import modes
from levine_policy_node.core.faults import DEMAND
from levine_policy_node.core.modes import (
    ACTIVE,
    ACTS,
    DEMANDS,
    LATCHED,
    TRANSITIONS,
    Event,
    Mode,
    ModeState,
    next_mode,
    refusal,
)

BOOT = ModeState(Mode.INIT)


def test_the_table_comes_out_the_same_when_it_is_made_once_more():
    """It is made when the module is imported, before `make mutants` changes what makes it."""
    made = runpy.run_path(modes.__file__, run_name=modes.__name__)["TRANSITIONS"]

    def told(table):
        return {(str(mode), str(event)): str(state) for (mode, event), state in table.items()}

    assert told(made) == told(TRANSITIONS)


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

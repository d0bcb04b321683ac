# SPDX-License-Identifier: Apache-2.0
"""The production supervisor, explored exhaustively: every reachable state, every invariant."""

from __future__ import annotations

import itertools

import pytest
from supervisor_explorer import NOMINAL, Exploration, Node, Surroundings
from supervisor_invariants import HELD, MOVED, invariants

from levine_policy_node.core.faults import RESPONSES, Clears, Fault
from levine_policy_node.core.modes import ACTS, Mode

CHECKED = invariants()


@pytest.fixture(scope="module")
def explored() -> Exploration:
    return Exploration().walk()


def test_there_are_at_least_21_invariants_and_each_says_what_it_is():
    assert len(CHECKED) >= 21
    assert all(invariant.__doc__ for invariant in CHECKED)


@pytest.mark.parametrize("invariant", CHECKED, ids=lambda function: function.__name__)
def test_invariant(explored, invariant):
    assert explored.broken.get(invariant.__name__, []) == []


def test_every_mode_is_reached_and_the_exploration_has_not_shrunk(explored):
    assert {node.mode.mode for node in explored.graph} == set(Mode)
    targets = {n.mode.target for n in explored.graph if n.mode.mode is Mode.STOPPING}
    assert targets == {Mode.PAUSED, Mode.DISARMED, Mode.PSTOP, Mode.FAULT}
    assert len(explored.graph) > 80
    assert explored.moves > 9000


def test_disarmed_is_reachable_from_every_state_without_a_defect(explored):
    before: dict[Node, set[Node]] = {}
    for node, followers in explored.graph.items():
        for follower in followers:
            before.setdefault(follower, set()).add(node)
    found: set[Node] = set()
    waiting = [node for node in explored.graph if node.mode.mode is Mode.DISARMED]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(before.get(node, ()))
    lost = explored.graph.keys() - found
    assert all(any(RESPONSES[f].clears is Clears.NEVER for f in node.faults) for node in lost)


def one_of_each_mode(explored: Exploration) -> list[Node]:
    nodes: dict[object, Node] = {}
    for node in explored.graph:
        nodes.setdefault(node.mode, node)
    return list(nodes.values())


def test_every_fault_is_stopped_for(explored):
    """Not only one of each kind, and in each mode alone and with an act."""
    alone = Exploration()
    for node, fault in itertools.product(one_of_each_mode(explored), Fault):
        world = Surroundings(seen=frozenset({fault}))
        quiet = alone.move(node, world, ()).after.mode
        for act in (a for a in ACTS if node.mode.mode in MOVED | HELD):
            alone.move(node, world, (act,), quiet)
    assert alone.broken == {}


def test_any_two_acts_in_one_tick(explored):
    pairs = Exploration()
    for node in one_of_each_mode(explored):
        quiet = pairs.move(node, NOMINAL, ()).after.mode
        for acts in itertools.product(sorted(ACTS, key=lambda act: act.name), repeat=2):
            pairs.move(node, NOMINAL, acts, quiet)
    assert pairs.broken == {}

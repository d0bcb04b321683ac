# SPDX-License-Identifier: Apache-2.0
"""Every reachable state of the production supervisor, found by ticking `supervisor.step`.

A state of the machine is what decides what may happen next: mode and stop target, latched faults,
whether the commanded motion is over, whether HUMAN is the home motion, and how many deliberate
acts there were. Every state that is found is made again as a real `SupervisorState` and ticked
once for each thing that can happen; what comes out is a state again, until none is new.

What geometry and time do (when a brake ends, when a timeout passes) is not followed but left
open: both ways are walked. So more is walked than can happen, never less. Motions are short and
straight here; that the real ones are safe is what the random streams of `levine bench unsafe` and
test_supervisor.py are for.

Faults that the tables treat alike are represented by one of them: as causes where they agree in
severity, clear condition, modes and treatment at a reset; once latched, where they agree in all of
these but the modes. `test_every_fault_is_stopped_for` has them all. A state in which more than two
kinds are latched is judged when it is reached and not walked on from: whether a reset is refused,
or where a stop leads, is decided by one of them.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from supervisor_invariants import (
    HELD,
    LATCHES,
    MOVED,
    SILENT,
    Invariant,
    Move,
    Surroundings,
    invariants,
)

from levine_policy_node.core.faults import RESPONSES, Fault
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import ACTS, TRANSITIONS, Event, Mode, ModeState
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.shaper import stand
from levine_policy_node.core.supervision import (
    Decision,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorOptions,
    SupervisorState,
    Target,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.core.watch import Watch

MS = 1_000_000
NOW = SteadyNs(1_000_000 * MS)
LONG_AGO = SteadyNs(NOW - 60_000 * MS)
LAST = SteadyNs(NOW - 10 * MS)
HERE = np.array([0.1])
_ONE = np.ones(1)
LIMITS = JointLimits(("pan",), -_ONE, _ONE, 2 * _ONE, 8 * _ONE, 80 * _ONE)
OPTIONS = SupervisorOptions(LIMITS, HERE, np.zeros(1, dtype=bool), sends_windows=False)

NOMINAL = Surroundings()
BOOT = ModeState(Mode.INIT)
# These come from what the supervisor is shown; any other fault is shown to it as seen.
_SHOWN = {Fault.ESTOP_PRESSED, Fault.JOINT_STATES_LOST, Fault.POLICY_LOST, Fault.FOREIGN_PUBLISHER}
_FROM_TIME = {Fault.OPERATOR_LOST, Fault.STOP_OVERDUE}
_GIVEN_UP = {Fault.TRACKING, Fault.CLOCK_STEPPED, Fault.BAD_CHUNKS}


@dataclass(frozen=True, slots=True)
class Node:
    """A state of the machine, as far as it decides what may happen next."""

    mode: ModeState = BOOT
    faults: frozenset[Fault] = frozenset()
    planned: bool = False
    over: bool = True
    homing: bool = False
    deliberate: int = 0


_LATCHED_AT_MOST = 2


def latched(faults: Iterable[Fault]) -> frozenset[Fault]:
    """The faults, each as the first of its kind once latched."""
    return frozenset(_FIRST_OF_KIND[_kind(fault)] for fault in faults)


def _kind(fault: Fault) -> object:
    response = RESPONSES[fault]
    always = fault in {Fault.ESTOP_PRESSED, Fault.ESTOP_SILENT, Fault.JOINT_STATES_LOST}
    return response.severity, response.clears, fault in _GIVEN_UP, always


# Those that the supervisor is shown stand for their kind.
_FIRST_OF_KIND = {_kind(fault): fault for fault in (*reversed(RESPONSES), *_SHOWN)}


def representatives() -> list[Fault]:
    """One fault of each kind that is not shown by what the supervisor measures itself."""
    kinds = {(_kind(fault), RESPONSES[fault].modes): fault for fault in reversed(RESPONSES)}
    for fault in _SHOWN | _FROM_TIME | {Fault.ESTOP_SILENT}:
        kinds.pop((_kind(fault), RESPONSES[fault].modes), None)
    return list(kinds.values())


def single_troubles() -> list[Surroundings]:
    """A world in order, and every world with one thing wrong."""
    return [
        NOMINAL,
        Surroundings(estop=True),
        Surroundings(arm="moving"),
        Surroundings(arm="outside"),
        Surroundings(arm="unseen"),
        Surroundings(policy=False),
        Surroundings(target=False),
        Surroundings(publishers=2),
        *(Surroundings(seen=frozenset({fault})) for fault in representatives()),
    ]


def pairs_of_troubles() -> list[Surroundings]:
    """Every two of those at once, as far as they can be."""
    found: list[Surroundings] = []
    for one, other in itertools.combinations(single_troubles()[1:], 2):
        if one.arm != "still" and other.arm != "still":
            continue
        found.append(
            Surroundings(
                one.estop or other.estop,
                one.arm if one.arm != "still" else other.arm,
                one.policy and other.policy,
                one.target and other.target,
                max(one.publishers, other.publishers),
                one.seen | other.seen,
            )
        )
    return found


def worlds(node: Node) -> tuple[list[Surroundings], list[Surroundings]]:
    """What a mode is shown: with every act that it has a row for, and without any."""
    mode = node.mode.mode
    often = single_troubles()
    seldom = [] if node.faults else pairs_of_troubles()
    if mode in {*MOVED, Mode.STOPPING}:
        often = [replace(w, over=over) for w in often for over in (False, True)]
        seldom = [replace(w, over=True) for w in seldom]
    if mode in {Mode.STOPPING, Mode.PAUSED}:
        seldom = seldom + [replace(w, aged=True) for w in often]
    return often, seldom


def made(node: Node, world: Surroundings) -> SupervisorState:
    """A real state of the supervisor that this node stands for."""
    mode = node.mode.mode
    plan = None
    if node.planned:
        plan = Plan.holding(LIMITS.names, HERE, LONG_AGO)
        over = world.over if mode in {*MOVED, Mode.STOPPING} else node.over
        if not over:
            begin = SteadyNs(NOW - 100 * MS)
            plan = Plan(stand(HERE, LIMITS, begin, 1.0), ((int(begin), "policy:x"),))
    sending = mode not in SILENT and node.planned
    return SupervisorState(
        mode=node.mode,
        since_ns=LONG_AGO if world.aged else LAST,
        plan=plan,
        ticked_ns=LAST,
        ticks=((int(LAST), HERE),) if sending else (),
        reference=stand(HERE, LIMITS, LAST, 2.0),
        homing=node.homing,
        target=HERE if mode is Mode.HUMAN else None,
        faults=dict.fromkeys(sorted(node.faults, key=lambda fault: fault.name), "seen before"),
        watch=Watch(count=1, advanced_ns=LAST),
    )


def shown(world: Surroundings, acts: tuple[Event, ...]) -> Inputs:
    """What the supervisor is given of this world."""
    position = HERE + (1.0 if world.arm == "outside" else 0.0)
    speed = np.array([0.5 if world.arm == "moving" else 0.0])
    return Inputs(
        ros_offset_ns=0,
        measured=Measured(position, speed, LONG_AGO if world.arm == "unseen" else LAST),
        heartbeat=Heartbeat(1, LAST if world.policy else LONG_AGO),
        target=Target(HERE, "operator:x", LAST) if world.target else None,
        estop=world.estop,
        publishers=world.publishers,
        requests=tuple(Request(act, i) for i, act in enumerate(acts)),
        seen=dict.fromkeys(world.seen, "shown"),
    )


@dataclass
class Exploration:
    """All nodes with the nodes that follow, how many moves there were, and which were wrong."""

    graph: dict[Node, set[Node]] = field(default_factory=dict)
    moves: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)
    checked: list[Invariant] = field(default_factory=invariants)

    def walk(self) -> Exploration:
        """Walk until nothing new is found."""
        waiting = deque([Node()])
        while waiting:
            node = waiting.popleft()
            if node in self.graph or len(node.faults) > _LATCHED_AT_MOST:
                continue
            self.graph[node] = set()
            self._expand(node)
            waiting.extend(self.graph[node] - self.graph.keys())
        return self

    def _expand(self, node: Node) -> None:
        often, seldom = worlds(node)
        acts = [act for act in Event if act in ACTS]
        for world in often:
            without = self.move(node, world, ()).after.mode
            for act in acts:
                if world == often[0] or (node.mode.mode, act) in TRANSITIONS:
                    self.move(node, world, (act,), without)
        for world in seldom:
            self.move(node, world, ())

    def move(
        self,
        node: Node,
        world: Surroundings,
        acts: tuple[Event, ...],
        without: ModeState | None = None,
    ) -> Move:
        """Tick once, judge it, and remember where it led."""
        before = made(node, world)
        after, decision = step(before, NOW, shown(world, acts), OPTIONS)
        found = Node(
            after.mode,
            latched(after.faults),
            after.plan is not None,
            after.plan is None or after.plan.end_ns <= NOW,
            after.homing,
            _deliberate(node, acts, decision),
        )
        move = Move(before, world, acts, after, decision, found.deliberate, without)
        self.moves += 1
        for invariant in self.checked:
            if not invariant(move):
                self.broken.setdefault(invariant.__name__, []).append(_told(move))
        if node in self.graph:
            self.graph[node].add(_settled(found))
        return move


def _told(move: Move) -> str:
    faults = [fault.name for fault in move.before.faults]
    acts = [act.name for act in move.acts]
    return f"{move.before.mode} {faults} --{acts} {move.world}--> {move.after.mode}"


def _deliberate(node: Node, acts: tuple[Event, ...], decision: Decision) -> int:
    count = node.deliberate
    for act, reply in zip(acts, decision.replies, strict=True):
        count = 0 if act is Event.RESET and reply.accepted else count + reply.accepted
    resting = decision.mode.mode in {Mode.INIT, Mode.DISARMED, *LATCHES}
    return 0 if resting else min(count, 2)


def _settled(node: Node) -> Node:
    """Whether a motion is over is left open where the arm moves, so it tells no nodes apart."""
    return replace(node, over=True) if node.mode.mode not in HELD else node

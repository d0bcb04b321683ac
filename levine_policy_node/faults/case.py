# SPDX-License-Identifier: Apache-2.0
"""What a case says, and how one run of it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.dst.controller import ControllerChoice, ControllerKind
from levine_policy_node.dst.judge import judge
from levine_policy_node.dst.trace import Record, Trace
from levine_policy_node.dst.world import EXPECTED_MODE, Phase, Setup, World
from levine_policy_node.faults.hazards import Where
from levine_policy_node.sim.controller_semantics import Distribution

Stop = Literal["PAUSED", "DISARMED", "PSTOP", "FAULT", "ESTOP"]
_SEVERITY = ("PAUSED", "DISARMED", "PSTOP", "FAULT", "ESTOP")
BOTH: tuple[ControllerKind, ...] = ("joint_trajectory", "forward_command")
WINDOWS: tuple[ControllerKind, ...] = ("joint_trajectory",)

Direct = Callable[[Random, Path], str]
"""Calls production code with a seed and an empty folder; says what is wrong, or ""."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial.

    Attributes:
        problems: What was wrong; empty if nothing.
        reaction_ms: From when the fault could be seen to the first command of the reaction;
            None where nothing has to happen.
        digest: Of the trace; "" outside the simulation.
        simulated_s: How long the run was [s].
    """

    problems: tuple[str, ...] = ()
    reaction_ms: float | None = None
    digest: str = ""
    simulated_s: float = 0.0


def injected_ns(trace: Trace) -> int:
    """When the fault came."""
    record = trace.first("injected")
    return record.time_ns if record is not None else 0


def from_injection(world: World) -> int:
    """A fault that can be seen at once."""
    return injected_ns(world.trace)


@dataclass(frozen=True, slots=True)
class Case:
    """One fault and what must come of it.

    Attributes:
        row: Which hazard it belongs to; 0 is the absence of any.
        name: Names it on the command line.
        injection: What is done, in words.
        limit_ms: Longest reaction [ms]; None where nothing has to happen but nothing unsafe may.
        stop: Mildest stop that will do; None if the mode must stay.
        fault: What must be noted, by name; "" for anything.
        phases: What is going on when the fault comes.
        controllers: Which kinds of controller it makes sense with.
        releases: Of which releases of ros2_controllers; all if empty.
        after_s: How long the run goes on [s].
        rests: Whether the arm must stand at the end.
        smooth: Whether the setpoints of the servos must be within the limits, too: not where
            the controller itself is led astray.
        inject: Brings the fault about in the simulation.
        since: When the fault can be seen first, from the trace.
        reacts: How long a reaction that is no stop took [ns]; None if there was none.
        check: What else is wrong with the world at the end, or "".
        adapt: Changes the supervisor's options for this case.
        direct: The case as a call of production code.
    """

    row: int
    name: str
    injection: str
    limit_ms: float | None = None
    stop: Stop | None = None
    fault: str = ""
    phases: tuple[Phase, ...] = ("policy",)
    controllers: tuple[ControllerKind, ...] = BOTH
    releases: tuple[Distribution, ...] = ()
    after_s: float = 1.1
    rests: bool = True
    smooth: bool = True
    inject: Callable[[World], None] | None = None
    since: Callable[[World], int] = from_injection
    reacts: Callable[[World], int | None] | None = None
    check: Callable[[World], str] | None = None
    adapt: Callable[[SupervisorOptions], SupervisorOptions] | None = None
    direct: Direct | None = None

    @property
    def where(self) -> Where:
        """Where it runs."""
        return "dst" if self.direct is None else "code"


def simulate(
    case: Case,
    options: SupervisorOptions,
    controller: ControllerChoice,
    phase: Phase,
    seed: int,
) -> tuple[World, Outcome]:
    """Run a case in the simulation and judge it.

    Raises:
        ValueError: If the case does not run there.
    """
    if case.inject is None:
        raise ValueError(f"{case.name}: does not run in the simulation")
    adapted = options if case.adapt is None else case.adapt(options)
    world = World(Setup(adapted, controller, phase, seed))
    trace = world.run(case.inject, case.after_s)
    reaction_ns, problems = _reaction(case, world)
    smooth = case.smooth and controller.kind == "joint_trajectory"
    verdict = judge(trace, options.limits, rests=case.rests, smooth=smooth)
    extra = case.check(world) if case.check is not None else ""
    return world, Outcome(
        (*problems, *verdict.problems, *((extra,) if extra else ())),
        None if reaction_ns is None else reaction_ns / 1e6,
        trace.digest(),
        world.now_s,
    )


def _reaction(case: Case, world: World) -> tuple[int | None, list[str]]:
    """How long the reaction took [ns], and what is wrong with it."""
    trace, expected = world.trace, EXPECTED_MODE[world.setup.phase].value
    began = trace.first("injected")
    if began is None or began.values[0] != expected:
        found = "nothing" if began is None else began.values[0]
        return None, [f"the run was to reach {expected} and reached {found}"]
    if case.reacts is not None:
        took_ns = case.reacts(world)
        return took_ns, _too_late(case, took_ns)
    if case.stop is None:
        ended = world.supervisor.mode.value
        same = case.check is not None or ended == expected
        return None, [] if same else [f"the mode became {ended}: {_causes(trace)}"]
    since_ns = case.since(world)
    record = _first_stop(trace, case.stop, injected_ns(trace))
    if record is None:
        return None, [f"no {case.stop} came: {world.supervisor.state.mode}, {_causes(trace)}"]
    problems: list[str] = []
    if case.fault and not any(r.values[0] == case.fault for r in trace.of("fault", "note")):
        problems.append(f"{case.fault} was not noted: {_causes(trace)}")
    reaction_ns = _on_the_wire(trace, record) - since_ns
    problems += _too_late(case, reaction_ns)
    mode = world.supervisor.mode.value
    if mode == "STOPPING" or mode not in _SEVERITY:
        problems.append(f"ended in {mode}")
    return reaction_ns, problems


def _too_late(case: Case, took_ns: int | None) -> list[str]:
    if took_ns is None:
        return ["nothing came of it"]
    if case.limit_ms is None or took_ns <= case.limit_ms * 1e6:
        return []
    return [f"took {took_ns / 1e6:.1f} ms (limit {case.limit_ms:g} ms)"]


def _first_stop(trace: Trace, stop: Stop, from_ns: int) -> Record | None:
    """The first tick whose mode is a stop at least as severe."""
    enough = _SEVERITY[_SEVERITY.index(stop) :]
    for record in trace.of("mode"):
        mode, _, target = record.values[0].partition("(")
        if record.time_ns >= from_ns and (target.rstrip(")") or mode) in enough:
            return record
    return None


def _on_the_wire(trace: Trace, stop: Record) -> int:
    """When the first command of the stop was sent; where it is silence, when that began."""
    said = stop.values[0]
    for record in trace.of("window", "command"):
        if (
            record.time_ns >= stop.time_ns
            and record.values[0].partition("(")[0] == (said.partition("(")[0])
        ):
            return record.time_ns
    return stop.time_ns


def _causes(trace: Trace) -> str:
    texts = [f"{r.values[0]} ({r.values[1]})" for r in trace.of("fault")]
    return ", ".join(texts) or "no fault noted"

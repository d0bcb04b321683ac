# SPDX-License-Identifier: Apache-2.0
"""Runs cases over robots, controllers, phases and seeds, and counts."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from levine_policy_node.dst.controller import ControllerChoice
from levine_policy_node.dst.trace import Trace
from levine_policy_node.dst.world import Phase
from levine_policy_node.faults.case import Case, Outcome, simulate
from levine_policy_node.faults.robots import shipped_options
from levine_policy_node.sim.controller_semantics import Distribution

ROBOTS = ("so101", "fr3")
RELEASES: tuple[Distribution, ...] = ("humble", "jazzy", "kilted", "master")


@dataclass(frozen=True, slots=True)
class Combination:
    """Where a case is tried."""

    robot: str
    controller: ControllerChoice
    phase: Phase

    def __str__(self) -> str:
        return f"{self.robot} {self.controller} {self.phase}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A trial that failed, with what repeats it."""

    case: str
    seed: int
    where: str
    problem: str

    @property
    def replay(self) -> str:
        """The command that runs it again."""
        return f"levine faults --replay {self.case} --seed {self.seed}"


@dataclass(slots=True)
class CaseResult:
    """All trials of one case."""

    case: Case
    trials: int = 0
    failures: list[Failure] = field(default_factory=list[Failure])
    reactions_ms: list[float] = field(default_factory=list[float])
    simulated_s: float = 0.0

    def percentile_ms(self, q: float) -> float | None:
        """A percentile of the reaction times; None if nothing had to happen."""
        if not self.reactions_ms:
            return None
        return round(float(np.percentile(self.reactions_ms, q)), 2)


@dataclass(slots=True)
class Campaign:
    """What a campaign found."""

    results: list[CaseResult]
    took_s: float

    @property
    def simulated_s(self) -> float:
        """Simulated time of all trials [s]."""
        return sum(result.simulated_s for result in self.results)


def combinations(case: Case, robots: Sequence[str] = ROBOTS) -> list[Combination]:
    """Everything a case is tried with, in an order in which neighbours differ in all of it."""
    releases = case.releases or RELEASES
    choices = [ControllerChoice(kind, rel) for kind in case.controllers for rel in releases]
    table = [
        Combination(robot, choice, phase)
        for robot, choice, phase in itertools.product(robots, choices, case.phases)
    ]
    Random(case.name).shuffle(table)
    return table


def run_campaign(
    cases: Iterable[Case],
    trials: int,
    first_seed: int = 0,
    tell: Callable[[CaseResult], None] = lambda result: None,
) -> Campaign:
    """Try each case so many times.

    Trial k has seed `first_seed + k`, which also says its robot, controller and phase.
    """
    began_s = time.monotonic()
    results: list[CaseResult] = []
    for case in cases:
        result = CaseResult(case)
        for seed in range(first_seed, first_seed + trials):
            where, outcome, _ = run_trial(case, seed)
            result.trials += 1
            result.simulated_s += outcome.simulated_s
            if outcome.reaction_ms is not None:
                result.reactions_ms.append(outcome.reaction_ms)
            if outcome.problems:
                text = "; ".join(outcome.problems[:3])
                result.failures.append(Failure(case.name, seed, where, text))
        results.append(result)
        tell(result)
    return Campaign(results, time.monotonic() - began_s)


def run_trial(case: Case, seed: int) -> tuple[str, Outcome, Trace | None]:
    """One trial: where, what came of it, and its trace if it was simulated."""
    if case.direct is not None:
        with tempfile.TemporaryDirectory() as folder:
            problem = case.direct(Random(f"{case.name}/{seed}"), Path(folder))
        return "code", Outcome((problem,) if problem else ()), None
    table = combinations(case)
    place = table[seed % len(table)]
    options = shipped_options(place.robot)
    world, outcome = simulate(case, options, place.controller, place.phase, seed)
    return str(place), outcome, world.trace

# SPDX-License-Identifier: Apache-2.0
"""Run the fault cases that need real processes, and sum them up."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.bench import sil_hosts, sil_intrusions
from levine_policy_node.bench.sil_cases import CASES as LIFE_AND_DEATH
from levine_policy_node.bench.sil_cases import CannotRunHereError, SilCase, Trial
from levine_policy_node.errors import LevineError, UnknownNameError
from levine_policy_node.graph import GraphOptions

OnNews = Callable[[str], None]

CASES: Mapping[str, SilCase] = {
    **LIFE_AND_DEATH,
    **sil_intrusions.CASES,
    **sil_hosts.CASES,
}


@dataclass(frozen=True, slots=True)
class SilRow:
    """What came of all trials of one case.

    Attributes:
        name: Of the case.
        rows: Hazards it belongs to.
        injection: What was done.
        trials: How often.
        failed: How many of them went wrong.
        reaction_ms_max: Longest reaction; None where none is to come.
        reaction_ms_p99: 99th percentile of the reactions.
        limit_ms: Longest that is allowed.
        figures: Largest of what else was measured.
        problems: What went wrong, each once.
        skipped: Why it was not run here, or "".
    """

    name: str
    rows: tuple[int, ...]
    injection: str
    trials: int
    failed: int
    reaction_ms_max: float | None
    reaction_ms_p99: float | None
    limit_ms: float | None
    figures: dict[str, float]
    problems: tuple[str, ...]
    skipped: str = ""

    def results(self) -> dict[str, Any]:
        """Machine-readable results."""
        return {**asdict(self), "where": "sil"}


def run(
    trials: int,
    *,
    only: Collection[str] = (),
    seed: int = 0,
    robot: str = "sim_so101",
    policy: str = "so101_pick_place",
    on_news: OnNews = lambda _: None,
) -> tuple[SilRow, ...]:
    """Run every case, or those of `only`, `trials` times.

    Raises:
        UnknownNameError: If there is no such case.
        ConfigError: If robot and policy do not fit.
    """
    for name in only:
        if name not in CASES:
            raise UnknownNameError("--only", "", name, CASES)
    # What the trial of a bundle finds does not change between two starts.
    trusting = {"policy_executor": {"trial": False}}
    options = GraphOptions(
        robot=robot,
        policy=policy,
        recorder=False,
        simulate=True,
        log_level="error",
        overrides=trusting,
    )
    return tuple(
        _run_case(name, case, trials, random.Random(f"{seed} {name}"), options, on_news)
        for name, case in CASES.items()
        if not only or name in only
    )


def _run_case(
    name: str,
    case: SilCase,
    trials: int,
    rng: random.Random,
    options: GraphOptions,
    on_news: OnNews,
) -> SilRow:
    found: list[Trial] = []
    overrides = {**options.overrides, **case.overrides}
    while len(found) < trials:
        with tempfile.TemporaryDirectory(prefix="levine_sil_") as folder:
            recordings = Path(folder) / "recordings"
            chosen = replace(options, recordings=recordings, overrides=overrides, **case.options)
            try:
                with case.opened(chosen, Path(folder)) as world:
                    while len(found) < trials:
                        found.append(case.run(world, rng))
                        on_news(_line(name, len(found), found[-1]))
            except CannotRunHereError as error:
                return replace(summed(name, case, []), skipped=str(error))
            except LevineError as error:
                # A graph of which a trial did not get what it needs is given up.
                found.append(Trial(None, str(error)))
                on_news(_line(name, len(found), found[-1]))
    return summed(name, case, found)


def summed(name: str, case: SilCase, found: list[Trial]) -> SilRow:
    """Judge the trials of a case."""
    reactions = [t.reaction_ms for t in found if t.reaction_ms is not None]
    p99 = round(float(np.percentile(reactions, 99)), 3) if reactions else None
    worst = round(max(reactions), 3) if reactions else None
    judged = p99 if case.percentile < 100.0 else worst
    late = bool(found) and case.limit_ms is not None and (judged is None or judged > case.limit_ms)
    problems = [t.problem for t in found if t.problem]
    failed = sum(
        bool(t.problem)
        or (late and (t.reaction_ms is None or t.reaction_ms > (case.limit_ms or 0.0)))
        for t in found
    )
    keys = {key for trial in found for key in trial.figures}
    figures = {
        key: round(max(t.figures[key] for t in found if key in t.figures), 4)
        for key in sorted(keys)
    }
    return SilRow(
        name,
        case.rows,
        case.injection,
        len(found),
        failed,
        worst,
        p99,
        case.limit_ms,
        figures,
        tuple(dict.fromkeys(problems)),
    )


def _line(name: str, number: int, trial: Trial) -> str:
    reaction = "" if trial.reaction_ms is None else f" {trial.reaction_ms:.1f} ms"
    extra = "".join(f" {key} {value:.3g}" for key, value in trial.figures.items())
    return (
        f"{name} {number}:{reaction}{extra}{' FAILED: ' if trial.problem else ''}{trial.problem}"
    )

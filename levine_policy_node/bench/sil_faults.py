# SPDX-License-Identifier: Apache-2.0
"""Run the fault cases that need real processes, and sum them up."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.bench import sil_hosts, sil_intrusions
from levine_policy_node.bench.sil_apart import Apart
from levine_policy_node.bench.sil_cases import CASES as LIFE_AND_DEATH
from levine_policy_node.bench.sil_cases import CannotRunHereError, SilCase, Trial
from levine_policy_node.bench.sil_world import SilWorld
from levine_policy_node.errors import LevineError, UnknownNameError
from levine_policy_node.graph import GraphOptions
from levine_policy_node.parentage import end_with_parent

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


class SilSession:
    """Runs trials one after another, and keeps the graph of a case for its next trial.

    A context manager; a graph in which a trial did not get what it needs is given up.
    """

    def __init__(
        self,
        robot: str = "sim_so101",
        policy: str = "so101_pick_place",
        *,
        apart: bool = False,
    ) -> None:
        """Prepare.

        Args:
            robot: The robot file.
            policy: The bundle.
            apart: Whether this process is the one for a case that needs its own.
        """
        # What the trial of a bundle finds does not change between two starts.
        trusting = {"policy_executor": {"trial": False}}
        self._options = GraphOptions(
            robot=robot,
            policy=policy,
            recorder=False,
            simulate=True,
            log_level="error",
            overrides=trusting,
        )
        self._open = contextlib.ExitStack()
        self._world: tuple[str, SilWorld | Apart] | None = None
        self._apart = apart

    def __enter__(self) -> SilSession:
        return self

    def __exit__(self, *_error: object) -> None:
        self._world = None
        self._open.close()

    def trial(self, name: str, seed: int) -> Trial:
        """Bring the fault about once; the seed says when.

        Raises:
            CannotRunHereError: If this machine does not permit what the case needs.
        """
        case = CASES[name]
        try:
            if self._world is None or self._world[0] != name:
                self.__exit__()
                self._world = (name, self._started(name, case))
            world = self._world[1]
            if isinstance(world, Apart):
                return world.trial(seed)
            return case.run(world, random.Random(f"{seed} {name}"))
        except CannotRunHereError:
            raise
        except LevineError as error:
            self.__exit__()
            return Trial(None, str(error))
        except BaseException:
            self.__exit__()
            raise

    def _started(self, name: str, case: SilCase) -> SilWorld | Apart:
        if case.apart and not self._apart:
            apart = Apart(name, self._options.robot, self._options.policy)
            self._open.callback(apart.close)
            return apart
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="levine_sil_")))
        options = replace(
            self._options,
            recordings=folder / "recordings",
            overrides={**self._options.overrides, **case.overrides},
            **case.options,
        )
        return self._open.enter_context(case.opened(options, folder))


def run(
    trials: int | None,
    *,
    only: Collection[str] = (),
    seed: int = 0,
    robot: str = "sim_so101",
    policy: str = "so101_pick_place",
    on_news: OnNews = lambda _: None,
) -> tuple[SilRow, ...]:
    """Run every case, or those of `only`, `trials` times with seeds from `seed` on.

    Without `trials` each as often as a whole campaign does.

    Raises:
        UnknownNameError: If there is no such case.
        ConfigError: If robot and policy do not fit.
    """
    for name in only:
        if name not in CASES:
            raise UnknownNameError("--only", "", name, CASES)
    rows: list[SilRow] = []
    with SilSession(robot, policy) as session:
        for name in [name for name in CASES if not only or name in only]:
            found: list[Trial] = []
            skipped = ""
            try:
                for number in range(CASES[name].trials if trials is None else trials):
                    found.append(session.trial(name, seed + number))
                    on_news(_line(name, len(found), found[-1]))
            except CannotRunHereError as error:
                skipped = str(error)
            rows.append(replace(summed(name, CASES[name], found), skipped=skipped))
    return tuple(rows)


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


def main() -> int:
    """Be the process of one case: a seed per line of input, a trial per line of output."""
    name, robot, policy = sys.argv[1:4]
    end_with_parent()
    with SilSession(robot, policy, apart=True) as session:
        for line in sys.stdin:
            trial, skipped = Trial(None), ""
            try:
                trial = session.trial(name, int(line))
            except CannotRunHereError as error:
                skipped = str(error)
            print(json.dumps({**asdict(trial), "skipped": skipped}), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

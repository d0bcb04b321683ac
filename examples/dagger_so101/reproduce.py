# SPDX-License-Identifier: Apache-2.0
"""Run, intervene, record, retrain, swap, better: the whole loop with one command."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "train_so101"))

from collect import Recipe, collect
from corrections import Labelled
from export import write_bundle
from improve import Course, copied, scaling_of, train, untrained
from in_ros import autonomous_episodes, running, supervised_episodes, swap
from kept import keep, kept
from mixing import Mix
from network import ChunkPolicy, Scaling
from read_recordings import episode_files, recorded_corrections
from report import BEFORE, CONTROL, Row, plot, table, verdicts
from score import ROBOT, score
from supervised import Supervised
from table_halves import TableHalves

from levine_policy_node.robot import load_robot

_HOME, _DISTURBED, _SUPERVISED, _IN_ROS, _HELD_OUT = 20_000, 21_000, 700_000, 710_000, 600_000
"""First seeds of what is demonstrated, supervised and scored; no scene is in two of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything.

    Attributes:
        home: Demonstrations from home.
        disturbed: Demonstrations with the plan slightly disturbed.
        base_steps: Of training on demonstrations.
        supervised: Episodes with the person watching.
        extra_steps: Of training afterwards, of the control as of the others.
        held_out: Scenes on each half that every policy is scored on.
        in_ros: Scenes that are also run through ROS 2, before and after the swap.
    """

    home: int = 40
    disturbed: int = 60
    base_steps: int = 1500
    supervised: int = 60
    extra_steps: int = 800
    held_out: int = 100
    in_ros: int = 8


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says besides.

    Attributes:
        workers: Processes that simulate.
        base: Output folder of the run whose first policy is taken; None to train one.
        dataset: Format that the recordings are exported in; "" for none.
    """

    workers: int = 2
    base: Path | None = None
    dataset: str = ""


_SHORT = Plan(6, 6, 60, 3, 30, 4, 1)


class Loop:
    """The stages, in order."""

    def __init__(self, out: Path, plan: Plan, options: Options) -> None:
        self._out, self._plan, self._options = out, plan, options
        self._halves = TableHalves()
        self._began = time.monotonic()
        self._rows: list[Row] = []

    def run(self) -> dict[str, object]:
        """Run every stage; what was found."""
        demonstrations, scaling, base = self._begin()
        keep(self._out, demonstrations, base)
        self._score(BEFORE, base)
        episodes = self._supervise()
        robot = load_robot(ROBOT)
        corrected = recorded_corrections(episode_files(self._recordings), robot)
        self._say(f"{len(corrected)} samples of {len(demonstrations)} are the person's")
        everything = Labelled.join([demonstrations, corrected])
        for name, samples, mix in (
            (CONTROL, demonstrations, Mix.HG_DAGGER),
            (Mix.HG_DAGGER.value, everything, Mix.HG_DAGGER),
            (Mix.IWR.value, everything, Mix.IWR),
        ):
            self._say(f"training {name}")
            policy = copied(base, scaling)
            train(policy, samples, scaling, Course(self._plan.extra_steps, mix))
            self._score(name, policy)
        in_ros = self._swap_and_run()
        if self._options.dataset:
            self._export(self._options.dataset)
        return self._conclude(episodes, in_ros)

    @property
    def _recordings(self) -> Path:
        return self._out / "supervised" / "recordings"

    def _begin(self) -> tuple[Labelled, Scaling, ChunkPolicy]:
        """Demonstrations, and the policy that has seen nothing else."""
        if self._options.base is not None:
            return kept(self._options.base)
        demonstrations = self._demonstrate()
        scaling = scaling_of(demonstrations)
        base = untrained(scaling)
        self._say("training on demonstrations")
        train(base, demonstrations, scaling, Course(self._plan.base_steps))
        return demonstrations, scaling, base

    def _demonstrate(self) -> Labelled:
        """Demonstrations by the scripted expert, on the half that the policy is to know."""
        plan = self._plan
        parts: list[Labelled] = []
        for first, number, recipe in (
            (_HOME, plan.home, Recipe()),
            (_DISTURBED, plan.disturbed, Recipe(disturbance_rad=0.03)),
        ):
            seeds = self._halves.seeds(first, number, known=True)
            made = collect(seeds, recipe, self._options.workers)
            self._say(f"{made.successes}/{made.episodes} demonstrated, {len(made.joints)} samples")
            parts.append(Labelled.demonstrated(made.frames, made.joints, made.rows))
        return Labelled.join(parts)

    def _supervise(self) -> list[Supervised]:
        """The policy on the half it does not know, watched and corrected, through ROS 2."""
        seeds = self._halves.seeds(_SUPERVISED, self._plan.supervised, known=False)
        with running(self._bundle(BEFORE), self._out / "supervised") as rollout:
            episodes = supervised_episodes(rollout, seeds, self._tell)
        reasons = Counter(reason for episode in episodes for reason in episode.reasons)
        self._say(
            f"{sum(bool(e.reasons) for e in episodes)} of {len(episodes)} episodes with an "
            f"intervention, {sum(e.success for e in episodes)} succeeded with or without help: "
            + ", ".join(f"{name} {count}" for name, count in reasons.most_common())
        )
        return episodes

    def _swap_and_run(self) -> dict[str, str]:
        """The first policy in the running graph, and the one that is swapped in."""
        seeds = self._halves.seeds(_IN_ROS, self._plan.in_ros, known=False)
        with running(self._bundle(BEFORE), self._out / "swapped") as rollout:
            before = autonomous_episodes(rollout, seeds)
            swap(rollout, self._bundle(Mix.IWR.value))
            after = autonomous_episodes(rollout, seeds)
        self._say(f"through ROS 2: {before} before the swap, {after} after it")
        return {BEFORE: str(before), Mix.IWR.value: str(after)}

    def _export(self, kind: str) -> None:
        """Make a data set of the recordings that others train on."""
        target = self._out / f"dataset_{kind}"
        command = ["record", "export", str(self._recordings), "--format", kind]
        subprocess.run(
            [sys.executable, "-m", "levine_policy_node.cli.main", *command, "--out", str(target)],
            check=True,
        )

    def _score(self, name: str, policy: ChunkPolicy) -> None:
        write_bundle(policy, self._bundle(name), f"so101_{name}")
        number = self._plan.held_out
        known, new = (
            score(
                self._bundle(name),
                self._halves.seeds(_HELD_OUT, number, known=half),
                self._options.workers,
            )
            for half in (True, False)
        )
        self._rows.append(Row(name, known, new))
        self._say(f"{name}: {known} on the half it knew, {new} on the other")

    def _conclude(self, episodes: list[Supervised], in_ros: dict[str, str]) -> dict[str, object]:
        corrected = sum(bool(episode.reasons) for episode in episodes)
        rows = {row.name: row for row in self._rows}
        shown = verdicts(rows, Mix.IWR.value, corrected)
        print(f"\n{table(self._rows)}\n")
        for what, holds in shown.items():
            print(f"{'yes' if holds else 'NO '}  {what}")
        plot(self._rows, self._out / "improvement.png")
        minutes = (time.monotonic() - self._began) / 60
        print(f"\n{minutes:.1f} min; plot: {self._out / 'improvement.png'}")
        return {
            "rows": {n: {"known": asdict(r.known), "new": asdict(r.new)} for n, r in rows.items()},
            "verdicts": shown,
            "episodes": [asdict(episode) for episode in episodes],
            "intervention_episodes": corrected,
            "through_ros": in_ros,
            "minutes": round(minutes, 1),
        }

    def _bundle(self, name: str) -> Path:
        return self._out / "bundles" / name

    def _tell(self, episode: Supervised) -> None:
        help_ = f"helped: {', '.join(episode.reasons)}" if episode.reasons else "no help"
        outcome = "success" if episode.success else "failure"
        stops = f", {episode.stops} watchdog stops" if episode.stops else ""
        self._say(f"seed {episode.seed}: {outcome}, {help_}{stops}")

    def _say(self, text: str) -> None:
        print(f"[{(time.monotonic() - self._began) / 60:4.1f} min] {text}", flush=True)


def main() -> int:
    """Parse the command line, run the loop and write the results; 0 if all of it was shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dagger_output"))
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    parser.add_argument("--threads", type=int, default=2, help="threads that train")
    parser.add_argument("--short", action="store_true", help="a minute of it, to see that it runs")
    parser.add_argument("--base", type=Path, help="begin with the first policy of this run")
    parser.add_argument(
        "--dataset",
        choices=("lerobot", "robomimic", "rlds"),
        default="",
        help="also make a data set of the recordings",
    )
    arguments = parser.parse_args()
    # One thread per simulating process; they inherit this.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(arguments.threads)
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()):
        parser.error(f"--out {out}: is not empty; its recordings would be learned from, too")
    options = Options(arguments.workers, arguments.base, arguments.dataset)
    results = Loop(out, _SHORT if arguments.short else Plan(), options).run()
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    shown = results["verdicts"]
    return 0 if arguments.short or (isinstance(shown, dict) and all(shown.values())) else 1


if __name__ == "__main__":
    raise SystemExit(main())

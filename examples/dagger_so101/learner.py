# SPDX-License-Identifier: Apache-2.0
"""A learner beside the robot: it reads what is recorded, learns, and pushes what it has learned.

The robot never waits for it. The learner is a process of its own that looks for new episodes,
updates all the time, and asks the running graph for a hot swap every so many updates, as the
learner of HIL-SERL (Luo et al., 2024) sends its parameters to the actor. Start from what
reproduce.py has kept:

    python examples/dagger_so101/learner.py --base dagger_output --out learner_output
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from dataclasses import asdict
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "train_so101"))

from actor_critic import ActorCritic, Losses
from corrections import Grid, Labelled, corrections
from export import write_bundle
from in_ros import running, supervised_episodes
from kept import kept
from read_recordings import EVERYTHING, episode_files, read_track
from replay import Replay, transitions
from report import BEFORE, Row, plot, table
from score import ROBOT, score
from success import Score
from supervised import Supervised
from table_halves import TableHalves

from levine_policy_node.robot import load_robot
from levine_policy_node.ros.operator_client import OperatorClient
from levine_policy_node.ros.swap_client import SwapClient, SwapError

_SUPERVISED, _HELD_OUT = 720_000, 600_000
_PUSH_EVERY = 150
_LOOK_S = 1.0
_SWAP_TIMEOUT_S = 60.0
_GROUP = 10


class Learner:
    """Follows a growing folder of recordings, and pushes bundles to the running graph."""

    def __init__(self, base: Path, recordings: Path, out: Path) -> None:
        self._shown, scaling, policy = kept(base)
        self._learning = ActorCritic(policy, scaling)
        self._recordings, self._out = recordings, out
        self._robot = load_robot(ROBOT)
        self._replay = Replay()
        self._read: set[Path] = set()
        self.updates = self.pushes = 0

    def look(self) -> int:
        """Take in the episodes that were closed since; how many."""
        new = [path for path in episode_files(self._recordings) if path not in self._read]
        for path in new:
            self._read.add(path)
            everything = read_track(path, self._robot, EVERYTHING)
            outcome = json.loads(path.with_name("episode.json").read_text())["outcome"]
            self._replay.add(transitions(everything, Grid(), success=outcome == "success"))
            shown = corrections(read_track(path, self._robot), Grid())
            self._shown = Labelled.join([self._shown, shown])
        return len(new)

    @property
    def has_data(self) -> bool:
        """Whether anything was driven yet."""
        return len(self._replay) > 0

    def learn(self, stop: Event) -> Losses:
        """So many updates as there are between two pushes, fewer if it is told to stop."""
        losses = Losses(0.0, 0.0)
        for _ in range(_PUSH_EVERY):
            if stop.is_set():
                break
            losses = self._learning.update(self._shown, self._replay)
            self.updates += 1
        return losses

    def push(self, client: SwapClient) -> str:
        """Write a bundle and ask for the swap; what became of it."""
        bundle = self.write()
        self.pushes += 1
        try:
            state = client.wait(client.request(str(bundle.resolve())), _SWAP_TIMEOUT_S)
        except SwapError as error:
            # The robot goes on with what it has, and the next push may succeed.
            return f"{bundle.name}: {error}"
        return f"{bundle.name}: {state['state']} {state['reason']}".strip()

    def write(self) -> Path:
        """Write what has been learned as a bundle."""
        bundle = self._out / "bundles" / f"learned_{self.pushes:03d}"
        write_bundle(self._learning.exported, bundle, "so101_learned")
        return bundle


def learner_process(base: Path, out: Path, stop: Event) -> None:
    """Learn until told to stop, and write the last bundle; runs in a process of its own."""
    torch.set_num_threads(1)
    learner = Learner(base, out / "recordings", out)
    operator = OperatorClient("learner")
    try:
        client = SwapClient(operator)
        while not stop.is_set():
            new = learner.look()
            if not learner.has_data:
                stop.wait(_LOOK_S)
                continue
            losses = learner.learn(stop)
            if not stop.is_set():
                told = learner.push(client)
                print(
                    f"  learner: {new} new episodes, {learner.updates} updates, {losses}; {told}"
                )
    finally:
        operator.close()
    print(
        f"  learner: {learner.updates} updates, {learner.pushes} pushes, last: {learner.write()}"
    )


def main() -> None:
    """Run robot and learner side by side, then score what was learned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="output folder of reproduce.py")
    parser.add_argument("--out", type=Path, default=Path("learner_output"))
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--held-out", type=int, default=100, help="scenes on each half")
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()):
        parser.error(f"--out {out}: is not empty; its recordings would be learned from, too")
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    episodes = _drive(arguments.base, out, arguments.episodes)
    for first in range(0, len(episodes), _GROUP):
        group = episodes[first : first + _GROUP]
        helped = sum(bool(episode.reasons) for episode in group)
        print(f"episodes {first + 1} to {first + len(group)}: {helped} needed help")
    last = max((out / "bundles").iterdir())
    rows = [
        Row(name, *_scores(bundle, arguments.held_out, arguments.workers))
        for name, bundle in ((BEFORE, arguments.base / "bundles" / BEFORE), ("learner", last))
    ]
    print(f"\n{table(rows)}\n\n{(time.monotonic() - began) / 60:.1f} min")
    plot(rows, out / "learner.png")
    results = {
        "episodes": [asdict(episode) for episode in episodes],
        "rows": {r.name: {"known": asdict(r.known), "new": asdict(r.new)} for r in rows},
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _drive(base: Path, out: Path, number: int) -> list[Supervised]:
    seeds = TableHalves().seeds(_SUPERVISED, number, known=False)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with running(base / "bundles" / BEFORE, out) as rollout:
        process = context.Process(target=learner_process, args=(base, out, stop), daemon=True)
        process.start()
        try:
            return supervised_episodes(rollout, seeds, _tell)
        finally:
            stop.set()
            process.join(timeout=120.0)


def _tell(episode: Supervised) -> None:
    helped = f"helped: {', '.join(episode.reasons)}" if episode.reasons else "no help"
    outcome = "success" if episode.success else "failure"
    print(f"seed {episode.seed}: {outcome}, {helped}", flush=True)


def _scores(bundle: Path, number: int, workers: int) -> tuple[Score, Score]:
    halves = TableHalves()
    known, new = (halves.seeds(_HELD_OUT, number, known=known) for known in (True, False))
    return score(bundle, known, workers), score(bundle, new, workers)


if __name__ == "__main__":
    main()

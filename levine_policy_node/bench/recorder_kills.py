# SPDX-License-Identifier: Apache-2.0
"""Kill the recorder at random moments, and count what that costs.

Each recorder is forked from a process that has imported everything, so that two hundred of them
start within minutes; from then on it is the production node. Episodes end and begin while it
runs, so that some are killed while they are closed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from mcap.reader import make_reader

from levine_policy_node.bench.recorder_rig import load, recorder_arguments, robot_file
from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_document import read_document
from levine_policy_node.runtime.episode_files import EpisodeFiles
from levine_policy_node.runtime.episode_list import listed_episodes, problems_of
from levine_policy_node.runtime.episode_recovery import recover_episode, unfinished_episodes

_CYCLE_S = 1.5
_LONGEST_S = 2.5
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Kills:
    """What killing the recorder cost.

    Attributes:
        kills: How often it was killed.
        open_at_kill: How often an episode was open, or being closed.
        lost_s_max: Longest time between the last message in a recovered episode and the kill [s].
        lost_s_p50: Median of it.
        recover_s_max: Longest repair [s].
        closed: Episodes in all, once everything was recovered.
        damaged: Of these, with any problem that `levine record verify` finds.
    """

    kills: int
    open_at_kill: int
    lost_s_max: float
    lost_s_p50: float
    recover_s_max: float
    closed: int
    damaged: int


def run_kills(kills: int, seed: int, said: Callable[[int, float], None]) -> Kills:
    """Kill recorders one after the other.

    Args:
        kills: How many.
        seed: Of the moments.
        said: Told after each kill how many there were, and what was lost [s].

    Raises:
        RecordingError: If a recorder does not start, or an episode cannot be recovered.
    """
    chosen = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["levine_policy_node.nodes.intervention_recorder"])
    lost: list[float] = []
    repairs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="levine_bench_") as name:
        folder = Path(name)
        root = folder / "recordings"
        root.mkdir()
        arguments = recorder_arguments(robot_file(folder, compressed=True), root)
        with load(folder, compressed=True, cycle_s=_CYCLE_S):
            for number in range(kills):
                process = context.Process(
                    target=run_recorder, args=(arguments, folder / "recorder.log"), daemon=True
                )
                process.start()
                killed_ns = _killed(process, root, chosen.uniform(0.0, _LONGEST_S))
                for directory in list(unfinished_episodes(root)):
                    began = time.monotonic()
                    recovered = recover_episode(directory)
                    repairs.append(time.monotonic() - began)
                    if recovered.repair is not None:
                        lost.append((killed_ns - _known_until_ns(directory)) / NS_PER_S)
                said(number + 1, max(lost, default=0.0))
        episodes = listed_episodes(root)
        damaged = sum(1 for episode in episodes if _is_damaged(problems_of(episode)))
    lost.sort()
    return Kills(
        kills=kills,
        open_at_kill=len(lost),
        lost_s_max=round(max(lost, default=0.0), 3),
        lost_s_p50=round(lost[len(lost) // 2], 3) if lost else 0.0,
        recover_s_max=round(max(repairs, default=0.0), 3),
        closed=len(episodes),
        damaged=damaged,
    )


def run_recorder(arguments: list[str], log: Path) -> None:
    """Be the recorder, in a process that was forked for it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    from levine_policy_node.nodes.intervention_recorder import main

    sys.exit(main(["intervention_recorder", *arguments]))


def _killed(process: BaseProcess, root: Path, after_s: float) -> int:
    """Wait until it records, a random time longer, and kill it; returns when, on the ROS clock."""
    before = set(root.iterdir())
    deadline = time.monotonic() + _START_S
    while not any(next(d.rglob("*.open"), None) for d in set(root.iterdir()) - before):
        if time.monotonic() > deadline or not process.is_alive():
            raise RecordingError("bench recorder: a recorder did not begin to record")
        threading.Event().wait(0.01)
    threading.Event().wait(after_s)
    killed_ns = time.time_ns()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    return killed_ns


def _known_until_ns(directory: Path) -> int:
    """When the last message of an episode was received, read by an independent reader.

    Of one without messages, when it began.
    """
    files = EpisodeFiles(directory)
    began = int(read_document(files.document).get("start_ns") or 0)
    with files.closed_file.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        return max((m.log_time for _, _, m in reader.iter_messages()), default=began)


def _is_damaged(problems: list[str]) -> bool:
    # One that was killed before its first byte says so, and has lost nothing.
    return bool(problems) and "before it had recorded anything" not in problems[0]

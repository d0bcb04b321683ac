# SPDX-License-Identifier: Apache-2.0
"""`levine eval`: a policy's success rate on the simulated task, with its uncertainty."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.progress import EpisodeProgress
from levine_policy_node.graph import GraphOptions
from levine_policy_node.sim.tasks import TASKS, Episodes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine eval`."""
    parser.add_argument("--policy", required=True, help="policy bundle: a shipped name or a path")
    parser.add_argument("--robot", default="sim_so101", help="robot file of the simulated arm")
    parser.add_argument(
        "--task",
        choices=tuple(TASKS),
        default="pick_place",
        help="reach: bring the hand to the place on the topic 'goal'",
    )
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first episode")
    parser.add_argument(
        "--direct", action="store_true", help="one process without ROS, in simulated time"
    )
    parser.add_argument(
        "--latency-s", type=float, default=0.0, help="with --direct: observation to chunk [s]"
    )
    parser.add_argument(
        "--merge", choices=("bundle", "replace", "blend", "ensemble", "rtc"), default="bundle"
    )
    parser.add_argument(
        "--smoothing-s",
        type=float,
        default=-1.0,
        help="standard deviation of the smoothing of chunks [s]; 0: none, -1: as the bundle says",
    )
    parser.add_argument("--record", type=Path, metavar="DIR", help="record the episodes there")


def run(options: argparse.Namespace) -> int:
    """Evaluate, print the interval and write the results."""
    seeds = range(options.seed, options.seed + options.episodes)
    results = _direct(options, seeds) if options.direct else _through_ros(options, seeds)
    low, high = results["wilson95"]
    print(
        f"{results['successes']}/{results['episodes']} succeeded "
        f"({100 * results['successes'] / results['episodes']:.0f} %, "
        f"95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %), "
        f"{results['limit_violations']} limit violations, {len(results['stops'])} watchdog stops"
    )
    write_json(options.json, results)
    return EXIT_OK


def _through_ros(options: argparse.Namespace, seeds: range) -> dict[str, Any]:
    # rclpy is not needed for --direct.
    from levine_policy_node.bench.rollouts import run_rollouts
    from levine_policy_node.cli.isolation import isolate_dds

    isolate_dds()
    graph = GraphOptions(
        robot=options.robot,
        policy=options.policy,
        recorder=options.record is not None,
        recordings=options.record or Path("recordings"),
        simulate=True,
        seed=options.seed,
        task=options.task,
        log_level="warn",
        overrides={
            "policy_executor": {"merge": options.merge, "smoothing_s": options.smoothing_s}
        },
    )
    with tempfile.TemporaryDirectory(prefix="levine_eval_") as logs:
        summary = run_rollouts(
            graph, seeds, log_directory=Path(logs), on_episode=EpisodeProgress(len(seeds))
        )
    return {"mode": "ros", **summary.results()}


def _direct(options: argparse.Namespace, seeds: range) -> dict[str, Any]:
    from levine_policy_node.runtime.merge_choice import MergeChoice
    from levine_policy_node.sim.direct import Delay, run_direct

    results = run_direct(
        robot=options.robot,
        policy=options.policy,
        episodes=Episodes(seeds, options.task),
        delay=Delay(options.latency_s),
        merge=MergeChoice(rule=options.merge, smoothing_s=options.smoothing_s),
        on_episode=EpisodeProgress(len(seeds)),
    )
    return {"mode": "direct", **results}

# SPDX-License-Identifier: Apache-2.0
"""`levine demo`: the trained policy drives the simulated arm through ROS 2, recorded."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from levine_policy_node.bench.rollouts import run_rollouts
from levine_policy_node.cli.demo_plot import plot_episode
from levine_policy_node.cli.demo_view import DemoView
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.progress import EpisodeProgress
from levine_policy_node.graph import GraphOptions
from levine_policy_node.ros.rollout import Rollout

VIEW_FPS = 5.0
VIEW_SIZE = (320, 240)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine demo`."""
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7, help="seed of the first episode")
    parser.add_argument("--policy", default="so101_pick_place", help="policy bundle")
    parser.add_argument("--robot", default="sim_so101", help="robot file of the simulated arm")
    parser.add_argument("--headless", action="store_true", help="no window, even with a display")
    parser.add_argument("--no-video", action="store_true", help="do not render the video")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_output"), help="video, plot, logs and recordings"
    )


def run(options: argparse.Namespace) -> int:
    """Run the demo and print where everything is."""
    join = isolate_dds(shared_memory=False)
    started = time.monotonic()
    out: Path = options.out
    recordings = out / "recordings" / time.strftime("%Y%m%d_%H%M%S")
    video = None if options.no_video else out / "demo.mp4"
    view = DemoView(video, fps=VIEW_FPS, window=not options.headless)
    graph = _graph(options, recordings, view)
    print(
        f"starting the arm, the supervisor, the policy and the recorder; to look in: {join}",
        flush=True,
    )

    def ready(rollout: Rollout) -> None:
        print(f"ready after {time.monotonic() - started:.1f} s", flush=True)
        view.attach(rollout.node)

    try:
        summary = run_rollouts(
            graph,
            range(options.seed, options.seed + options.episodes),
            log_directory=out / "logs",
            on_episode=EpisodeProgress(options.episodes),
            on_ready=ready,
        )
    finally:
        view.close()
    mcap_files = sorted(str(path) for path in recordings.rglob("ep_*.mcap"))
    results = {**summary.results(), "mcap_files": mcap_files}
    if mcap_files:
        results["plot"] = str(plot_episode(Path(mcap_files[0]), out / "demo.png"))
    if view.video is not None:
        results["video"] = str(view.video)
    write_json(options.json, results)
    _print_table(results, time.monotonic() - started)
    return EXIT_OK if results["successes"] else EXIT_FAILED


def _graph(options: argparse.Namespace, recordings: Path, view: DemoView) -> GraphOptions:
    overrides: dict[str, dict[str, Any]] = {}
    if view.wants_frames:
        width, height = VIEW_SIZE
        overrides["sim_arm"] = {"view_fps": VIEW_FPS, "view_width": width, "view_height": height}
    return GraphOptions(
        robot=options.robot,
        policy=options.policy,
        recorder=True,
        recordings=recordings,
        simulate=True,
        seed=options.seed,
        log_level="warn",
        overrides=overrides,
    )


def _print_table(results: dict[str, Any], took_s: float) -> None:
    low, high = results["wilson95"]
    rows = [
        (
            "episodes",
            f"{results['successes']} of {results['episodes']} succeeded "
            f"(95 % Wilson interval {100 * low:.0f} to {100 * high:.0f} %)",
        ),
        (
            "limit violations",
            f"{results['limit_violations']} in {results['monitor']['commands']}"
            " commands, counted by the arm",
        ),
        ("watchdog stops", f"{len(results['stops'])}, resumed"),
        (
            "control ticks",
            f"{_shown(results['missed_ticks'], 0)} missed of "
            f"{_shown(results['ticks'], 0)}, jitter p99 "
            f"{_shown(results['command_jitter_ms_p99'], 2)} ms",
        ),
        (
            "inference",
            f"p50 {_shown(results['inference_ms_p50'], 2)} ms, observation "
            f"{_shown(results['observation_age_ms_p50'], 0)} ms old",
        ),
        ("recorded", f"{len(results['mcap_files'])} MCAP files"),
        ("video", results.get("video", "none")),
        ("plot", results.get("plot", "none")),
        ("time", f"{took_s:.0f} s"),
    ]
    print()
    for name, value in rows:
        print(f"  {name:<18}{value}")


def _shown(value: float | None, digits: int) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"

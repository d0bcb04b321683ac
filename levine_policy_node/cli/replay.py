# SPDX-License-Identifier: Apache-2.0
"""`levine replay EPISODE --policy B`: what a policy says to the observations of an episode."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.cli.trust_options import (
    add_remote_arguments,
    add_trial_arguments,
    add_trust_arguments,
    chosen_access,
    chosen_trust,
)
from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.bundle_trial import try_bundle
from levine_policy_node.runtime.episode_reader import Episode, read_episode
from levine_policy_node.runtime.graph_cache import cache_directory
from levine_policy_node.runtime.onnx_loader import OnnxOptions
from levine_policy_node.runtime.onnx_providers import PROVIDERS, Provider
from levine_policy_node.runtime.policy_loader import load_policy
from levine_policy_node.runtime.recorded_observations import RecordedObservations
from levine_policy_node.runtime.replay import ReplayedInference, replay
from levine_policy_node.runtime.replay_report import ReplayReport, inference_document, report_of

_TIMEOUT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine replay`."""
    parser.add_argument("episode", type=Path, metavar="EPISODE", help="an episode's .mcap")
    parser.add_argument(
        "--policy", required=True, metavar="B", help="policy bundle: a path or a shipped name"
    )
    parser.add_argument("--robot", help="robot file; the one that the episode names unless given")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the differences")
    parser.add_argument(
        "--provider",
        choices=PROVIDERS,
        default="cpu",
        help="where graphs run (cpu); another than was recorded with rounds otherwise",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of one inference (1)"
    )
    add_trust_arguments(parser)
    add_trial_arguments(parser)
    add_remote_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Replay the episode and print what is different."""
    episode = read_episode(options.episode)
    robot = _robot(episode, options.robot)
    access = chosen_access(options)
    bundle = load_bundle(options.policy, chosen_trust(options)).for_robot(robot)
    access.check(bundle)
    onnx = OnnxOptions(
        cast("Provider", options.provider), options.threads, _TIMEOUT_S, cache_directory()
    )
    if not options.no_trial:
        try_bundle(bundle, robot, onnx, access=access)
    policy = load_policy(bundle, robot, onnx, access)
    try:
        replayed = list(replay(episode, robot, policy))
    finally:
        policy.close()
    report = report_of(replayed, robot.joint_names)
    print(_words(episode, robot, policy.source, replayed, report))
    if options.plot is not None:
        from levine_policy_node.cli.replay_plot import plot_replay

        print(f"\nplot: {plot_replay(replayed, robot.joint_names, options.plot)}")
    document = {
        "episode": str(episode.path),
        "policy": policy.source,
        "recorded": _recorded(replayed),
        "images_as_seen": _images(episode, robot),
        **asdict(report),
        "each": [inference_document(one, robot.joint_names) for one in replayed],
    }
    write_json(options.json, document)
    return EXIT_OK


def _robot(episode: Episode, given: str | None) -> Robot:
    named = episode.metadata.get("robot", {})
    recorded: dict[str, Any] = named if isinstance(named, dict) else {}
    try:
        robot = load_robot(given or str(recorded.get("name", "")))
    except UnknownNameError as error:
        if given is not None:
            raise
        raise ConfigError(
            str(episode.path),
            "robot",
            f"'{recorded.get('name', '')}' is no robot file that ships",
            "Give the one it was recorded with: --robot FILE",
        ) from error
    if recorded.get("sha256") not in (None, robot.sha256):
        print(f"note: {robot.path} is not, or no longer, the robot file this was recorded with")
    return robot


def _recorded(replayed: list[ReplayedInference]) -> list[str]:
    return list(dict.fromkeys(one.source.rpartition("#")[0] for one in replayed))


def _images(episode: Episode, robot: Robot) -> dict[str, bool]:
    cameras = RecordedObservations(episode, robot).cameras
    return {name: camera.exact for name, camera in cameras.items()}


def _words(
    episode: Episode,
    robot: Robot,
    source: str,
    replayed: list[ReplayedInference],
    report: ReplayReport,
) -> str:
    lines = [
        f"{episode.path.name}: {report.inferences} inferences in {episode.duration_s:.1f} s",
        f"  recorded    {', '.join(_recorded(replayed))}",
        f"  replayed    {source}"
        + (" (the one that was recorded)" if report.original == report.inferences else ""),
        f"  seen        {report.observations_exact} of {report.observations} observations are "
        "what the policy saw, bit for bit"
        if report.observations
        else "  seen        not recorded (no policy/inference); observations are what the "
        "streams had",
        f"  chunks      {report.bit_exact} of {report.compared} are equal bit for bit",
    ]
    copies = [name for name, as_seen in _images(episode, robot).items() if not as_seen]
    if copies:
        lines.append(
            f"  note        images of {', '.join(copies)} are JPEG copies that the recorder made; "
            "record with image_format: raw, or from cameras that publish JPEG, to have those "
            "that the policy saw"
        )
    lines += [f"  not as seen {count} times: {thing}" for thing, count in report.unlike.items()]
    if report.out_of_sequence and report.observations:
        lines.append(
            f"  note        {report.out_of_sequence} inferences came after one that is not in the "
            "recording: a policy that remembers something remembers something else now"
        )
    lines += [f"  problem     {count} times: {text}" for text, count in report.problems.items()]
    if report.joints:
        rows = [
            [name, f"{found.rms:.6f}", f"{found.largest:.6f}"]
            for name, found in report.joints.items()
        ]
        lines.append("\n" + format_table(["joint", "rms [rad]", "largest [rad]"], rows))
    return "\n".join(lines)

# SPDX-License-Identifier: Apache-2.0
"""`levine up`: the runtime for one robot and one policy, without a launch system."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.trust_options import add_remote_arguments, add_trust_arguments
from levine_policy_node.graph import LOG_LEVELS, GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.transports import without_shared_memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine up`."""
    parser.add_argument("--robot", required=True, help="robot file: a shipped name or a path")
    parser.add_argument("--policy", default="", help="policy bundle: a shipped name or a path")
    parser.add_argument("--namespace", default="", help="ROS namespace of every node")
    parser.add_argument("--no-recorder", action="store_true", help="do not record episodes")
    parser.add_argument("--recordings", type=Path, default=Path("recordings"), metavar="DIR")
    parser.add_argument("--sim", action="store_true", help="start sim_arm in place of an arm")
    parser.add_argument("--seed", type=int, default=0, help="scene of the simulation")
    parser.add_argument("--split", action="store_true", help="cameras and policy as two processes")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PROCESS",
        help="start these here; the others run on another host",
    )
    parser.add_argument(
        "--operator",
        default="",
        metavar="DEVICE",
        help="with which a person takes over: leader, spacemouse, gamepad, topics, ...",
    )
    add_trust_arguments(parser)
    add_remote_arguments(parser)
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")


def run(options: argparse.Namespace) -> int:
    """Start the graph and wait until it ends or the user stops it."""
    choice = GraphOptions(
        robot=options.robot,
        policy=options.policy,
        namespace=options.namespace,
        recorder=not options.no_recorder,
        recordings=options.recordings,
        simulate=options.sim,
        seed=options.seed,
        split_runtime=options.split,
        only=tuple(options.only),
        log_level=options.log_level,
        trust=options.trust,
        trust_key=options.trust_key,
        remote_hosts=tuple(options.remote_host),
        operator=options.operator,
    )
    graph = build_graph(choice)
    commands = {p.executable: [p.executable, *p.ros_arguments(choice)] for p in graph}
    write_json(options.json, {"processes": commands})
    if options.dry_run:
        for command in commands.values():
            print(" ".join(command))
        return EXIT_OK
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    environment = without_shared_memory(os.environ)
    with ProcessGroup(graph, choice, environment=environment) as group:
        print(
            f"running {', '.join(commands)}; nothing moves until supervisor/arm and "
            "supervisor/engage are called. Ctrl-C ends it",
            flush=True,
        )
        failure = group.wait(stopped)
    if failure is None:
        return EXIT_OK
    print(
        f"error: {failure[0]} ended with exit code {failure[1]}; everything was stopped",
        file=sys.stderr,
    )
    return EXIT_FAILED

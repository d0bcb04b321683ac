# SPDX-License-Identifier: Apache-2.0
"""`levine sros2`: the security policy that lets only the supervisor command the arm."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.robot import load_robot
from levine_policy_node.sros2 import ENCLAVES, command_topic, enclave_path, policy_xml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine sros2`."""
    parser.add_argument("--robot", required=True, help="robot file: a shipped name or a path")
    parser.add_argument("--namespace", default="", help="ROS namespace of every node")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there")


def run(options: argparse.Namespace) -> int:
    """Print or write the policy."""
    robot = load_robot(options.robot)
    text = policy_xml(robot, options.namespace)
    if options.output is None:
        print(text, end="")
    else:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text)
    enclaves = [enclave_path(name, options.namespace) for name in ENCLAVES]
    write_json(options.json, {"enclaves": enclaves, "command_topic": command_topic(robot)})
    return EXIT_OK

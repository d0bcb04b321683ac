# SPDX-License-Identifier: Apache-2.0
"""`levine check BUNDLE`: what a policy sees and does, and whether it fits a robot."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from levine_policy_node.cli.bundle_table import describe
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.schema import SCHEMAS, json_schema
from levine_policy_node.cli.table import format_table
from levine_policy_node.cli.trust_options import (
    add_remote_arguments,
    add_trial_arguments,
    add_trust_arguments,
    chosen_access,
    chosen_trust,
)
from levine_policy_node.errors import BundleError, ConfigError
from levine_policy_node.robot import Robot, load_robot, robots_directory
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.bundle_trial import try_bundle
from levine_policy_node.runtime.draft_file import write_draft
from levine_policy_node.runtime.image_preview import write_previews
from levine_policy_node.runtime.policy_loader import load_policy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine check`."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", nargs="?", help="policy bundle: a path or a shipped name"
    )
    parser.add_argument("--robot", help="robot file it must fit: a shipped name or a path")
    parser.add_argument(
        "--write",
        action="store_true",
        help="draft a policy.yaml for what somebody else's tool exported",
    )
    parser.add_argument(
        "--schema",
        nargs="?",
        const="policy",
        choices=SCHEMAS,
        help="print the JSON Schema of policy.yaml (or of robot files) for an editor, and end",
    )
    parser.add_argument(
        "--preview",
        type=Path,
        metavar="DIR",
        help="write what each camera's image looks like after crop and resize",
    )
    parser.add_argument(
        "--frame",
        action="append",
        default=[],
        metavar="CAMERA=FILE",
        help="picture of a camera for --preview; a test pattern unless given",
    )
    add_trust_arguments(parser)
    add_trial_arguments(parser)
    add_remote_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Verify the bundle, run its graph for the robot, and print what it is."""
    if options.schema is not None:
        print(json.dumps(json_schema(options.schema), indent=2))
        return EXIT_OK
    if options.bundle is None:
        raise ConfigError("levine check", "BUNDLE", "is missing", "Give a path or a shipped name")
    robot = load_robot(options.robot) if options.robot else None
    if options.write:
        written = write_draft(options.bundle, "" if robot is None else robot.model)
        print(f"{written.path} drafted from {written.origin}")
        if written.missing:
            rows = [list(row) for row in written.missing]
            print("\nStill to fill in:\n" + format_table(["field", "what it needs"], rows))
            write_json(options.json, {"path": str(written.path), "missing": dict(written.missing)})
            return EXIT_OK
    bundle = load_bundle(options.bundle, chosen_trust(options))
    if robot is not None:
        bundle.check_robot(robot)
        fits = [robot]
    else:
        fits = [robot for robot in _shipped_robots() if _fits(bundle, robot)]
    access = chosen_access(options)
    access.check(bundle)
    if not options.no_trial:
        try_bundle(bundle, fits[0] if fits else None, access=access)
    for robot in fits[:1]:
        # Loading compares the graph with the document and runs it on plausible observations.
        load_policy(bundle, robot, access=access).close()
    write_json(options.json, _results(bundle, fits))
    print(describe(bundle, fits[0] if fits else None))
    names = ", ".join(robot.name for robot in fits)
    print(f"\n  fits        {names or 'none of the robot files that ship'}")
    if fits:
        local = bundle.document.remote is None
        ran = "graph       loaded, and ran on" if local else "server      answered to"
        print(f"  {ran} plausible observations of {fits[0].name}")
    if options.preview is not None:
        _preview(bundle, fits, options)
    return EXIT_OK


def _preview(bundle: Bundle, fits: Sequence[Robot], options: argparse.Namespace) -> None:
    if not fits:
        raise ConfigError("levine check", "--preview", "needs a robot file that fits", "--robot")
    frames: dict[str, Path] = {}
    for given in options.frame:
        camera, equals, file = str(given).partition("=")
        if not equals:
            raise ConfigError("levine check", "--frame", f"'{given}' is not CAMERA=FILE")
        frames[camera] = Path(file)
    for key, path in write_previews(bundle, fits[0], frames, options.preview).items():
        print(f"  preview     {key}: {path}")


def _shipped_robots() -> list[Robot]:
    return [load_robot(str(path)) for path in sorted(robots_directory().glob("*.yaml"))]


def _fits(bundle: Bundle, robot: Robot) -> bool:
    try:
        bundle.check_robot(robot)
    except BundleError:
        return False
    return True


def _results(bundle: Bundle, fits: Sequence[Robot]) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "path": str(bundle.path),
        "cameras": list(bundle.cameras),
        "replan_s": bundle.replan_s,
        "files": {name: len(data) for name, data in bundle.files.items()},
        "fits": [robot.name for robot in fits],
        "document": bundle.document.model_dump(mode="json"),
    }

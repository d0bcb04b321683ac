# SPDX-License-Identifier: Apache-2.0
"""`levine record recover`: repair what a crash left."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_recovery import recover_episode, unfinished_episodes
from levine_policy_node.runtime.mcap_recovery import repair_mcap


def add_arguments(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the action and its options."""
    parser = actions.add_parser("recover", help="repair what a crash left; does no harm twice")
    parser.add_argument(
        "path", type=Path, help="a root of recordings, a session, an episode, or any .mcap file"
    )
    # Given after the action, as a person would; SUPPRESS leaves what stands before it.
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="results as JSON"
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Close every episode that was left open, or repair one file."""
    path: Path = options.path
    if not path.exists():
        raise RecordingError(f"{path}: there is no such file or directory")
    left = list(unfinished_episodes(path))
    if path.is_file() and not left:
        return _one_file(path, options.json)
    lines: list[str] = []
    failed = 0
    for directory in left:
        try:
            lines.append(recover_episode(directory).words())
        except RecordingError as error:
            failed += 1
            lines.append(f"not recovered: {error}")
        print(lines[-1], flush=True)
    print(f"{len(left) - failed} episodes recovered" if left else "nothing was left open")
    write_json(
        options.json, {"recovered": len(left) - failed, "failed": failed, "episodes": lines}
    )
    return EXIT_FAILED if failed else EXIT_OK


def _one_file(path: Path, json_file: Path | None) -> int:
    repair = repair_mcap(path)
    if repair.changed:
        aside = f", {repair.torn_bytes} torn bytes are in {repair.torn_file}"
        print(
            f"{path}: repaired: {repair.messages} messages"
            f"{aside if repair.torn_file is not None else ''}"
            f"{f', {repair.hidden} damaged records hidden' if repair.hidden else ''}"
        )
    else:
        print(f"{path}: whole, nothing to repair; {repair.messages} messages")
    write_json(json_file, {"changed": repair.changed, "messages": repair.messages})
    return EXIT_OK

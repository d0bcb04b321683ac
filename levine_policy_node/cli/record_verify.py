# SPDX-License-Identifier: Apache-2.0
"""`levine record verify`: are episodes what was recorded?"""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.runtime.episode_list import listed_episodes, problems_of


def add_arguments(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the action and its options."""
    parser = actions.add_parser("verify", help="read episodes whole and check every checksum")
    parser.add_argument("path", type=Path, help="a root of recordings, a session or an episode")
    # Given after the action, as a person would; SUPPRESS leaves what stands before it.
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="results as JSON"
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Read every file to its end and print what is wrong with it."""
    found: dict[str, list[str]] = {}
    for episode in listed_episodes(options.path):
        found[str(episode.files.directory)] = problems = problems_of(episode)
        print(f"{episode.name}: {'; '.join(problems) or 'as it was recorded'}", flush=True)
    bad = sum(1 for problems in found.values() if problems)
    print(f"{len(found)} episodes, {bad} with problems")
    write_json(options.json, {"episodes": len(found), "bad": bad, "problems": found})
    return EXIT_FAILED if bad else EXIT_OK

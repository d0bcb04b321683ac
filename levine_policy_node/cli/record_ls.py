# SPDX-License-Identifier: Apache-2.0
"""`levine record ls`: which episodes there are, and how they went."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.runtime.episode_list import ListedEpisode, listed_episodes

_HEAD = ("episode", "started (UTC)", "length", "outcome", "takeovers", "task", "policy", "remarks")
_LONGEST = 32


def add_arguments(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the action and its options."""
    parser = actions.add_parser("ls", help="list episodes and how they went")
    parser.add_argument(
        "path", type=Path, nargs="?", default=Path("recordings"), help="default: recordings"
    )
    # Given after the action, as a person would; SUPPRESS leaves what stands before it.
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="results as JSON"
    )
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Print a table of the episodes."""
    episodes = listed_episodes(options.path)
    print(format_table(_HEAD, [_row(episode) for episode in episodes]))
    print(_total(episodes))
    write_json(
        options.json,
        {
            "episodes": [
                {"directory": str(e.files.directory), "problem": e.problem, **e.document}
                for e in episodes
            ]
        },
    )
    return EXIT_OK


def _row(episode: ListedEpisode) -> tuple[str, ...]:
    known = episode.document
    if not known:
        return (episode.name, "", "", "?", "", "", "", episode.problem or "no episode.json")
    started = datetime.fromtimestamp(int(known.get("start_ns", 0)) / NS_PER_S, timezone.utc)
    policies = known.get("policies") or [known.get("policy", {}).get("name", "")]
    return (
        episode.name,
        f"{started:%Y-%m-%d %H:%M:%S}",
        f"{float(known.get('duration_s') or 0.0):.1f} s",
        str(known.get("outcome", "unknown")),
        str(known.get("interventions", "")),
        _short(str(known.get("task", ""))),
        _short(", ".join(policies)),
        ", ".join(remarks(known)),
    )


def remarks(known: dict[str, Any]) -> list[str]:
    """What sets an episode apart from one that was recorded whole."""
    found: list[str] = []
    if known.get("state") != "closed":
        found.append("not closed" if known.get("state") == "open" else "failed")
    if known.get("discarded"):
        found.append("discarded")
    if known.get("recovered"):
        found.append("recovered")
    if known.get("lossy"):
        found.append(f"{sum(known.get('dropped', {}).values())} messages dropped")
    return found


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _total(episodes: Sequence[ListedEpisode]) -> str:
    hours = sum(float(e.document.get("duration_s") or 0.0) for e in episodes) / 3600.0
    size = sum(int(e.document.get("bytes") or 0) for e in episodes) / 1e9
    return f"{len(episodes)} episodes, {hours:.2f} h, {size:.2f} GB"

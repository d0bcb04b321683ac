# SPDX-License-Identifier: Apache-2.0
"""`levine record`: what recordings tell, and whether they are whole."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from levine_policy_node.cli import record_export, record_ls, record_recover, record_verify
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.record_episode import recording_in, show_episode
from levine_policy_node.core.stop_record import StopRecord
from levine_policy_node.core.stop_report import StopReport, report_of
from levine_policy_node.core.stop_words import stop_words
from levine_policy_node.runtime.stop_file import OtherFile, read_stop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done with a recording."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for module in (record_ls, record_verify, record_recover, record_export):
        module.add_arguments(actions)
    show = actions.add_parser("show", help="tell of an episode, or explain a stop")
    show.add_argument(
        "file",
        type=Path,
        metavar="PATH",
        help="an episode (its directory or .mcap) or stop_*.mcap",
    )
    show.add_argument("--plot", type=Path, metavar="PNG", help="draw it")
    show.add_argument("--thumbnails", type=Path, metavar="PNG", help="pictures of an episode")
    # Given after the action, as a person would; SUPPRESS leaves what stands before it.
    show.add_argument(
        "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="its figures as JSON"
    )
    show.set_defaults(action=_show)


def run(options: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(options.action(options))


def _show(options: argparse.Namespace) -> int:
    found = read_stop(recording_in(options.file))
    if isinstance(found, OtherFile) and found.is_episode and options.file.suffix != ".open":
        return show_episode(options)
    if isinstance(found, OtherFile):
        print(_described(found))
        write_json(options.json, asdict(found))
        return EXIT_OK
    report = report_of(found)
    print(stop_words(found, report))
    if options.plot is not None:
        from levine_policy_node.cli.stop_plot import plot_stop

        print(f"\nplot: {plot_stop(found, report, options.plot)}")
    write_json(options.json, _document(found, report))
    return EXIT_OK


def _described(found: OtherFile) -> str:
    """Say what a recording is that is no stop."""
    what = "an episode that was not closed" if found.is_episode else "a recording"
    known = ", ".join(
        f"{key} {found.metadata[key]}"
        for key in ("episode", "policy", "robot", "task", "outcome")
        if found.metadata.get(key)
    )
    lines = [
        f"{found.file}: {what}, not a stop" + (f" ({known})" if known else ""),
        f"  {found.seconds:.1f} s, {sum(found.messages.values())} messages",
        *(f"  {count:7d}  {topic}" for topic, count in sorted(found.messages.items())),
        "levine record recover closes it"
        if found.is_episode
        else "Stops are kept in black_box_root of safety_supervisor, as stop_*.mcap",
    ]
    return "\n".join(lines)


def _document(found: StopRecord, report: StopReport) -> dict[str, Any]:
    return {
        "file": found.file,
        "complete": found.complete,
        "stop": dict(found.metadata),
        "end": dict(found.end),
        "report": asdict(report),
        "events": [asdict(event) for event in found.events],
    }

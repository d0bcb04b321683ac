# SPDX-License-Identifier: Apache-2.0
"""`levine bench takeover`: people take over and hand back, in simulation and for real."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.takeover import run_takeovers
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.errors import ConfigError

CUT_TICKS, ACTIVE_MS = 1, 100.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench takeover`."""
    parser.add_argument("--trials", type=int, default=1000, help="in deterministic simulation")
    parser.add_argument(
        "--real", type=int, default=0, metavar="N", help="and this many over real processes"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Take over, print, and fail if a bar is missed."""
    for name, least in (("trials", 0), ("real", 0), ("seed", 0)):
        if getattr(options, name) < least:
            raise ConfigError("levine bench takeover", f"--{name}", f"must be at least {least}")
    results: dict[str, Any] = {"bench": "takeover", "seed": options.seed}
    columns: list[tuple[str, dict[str, Any]]] = []
    # First what a warm and busy machine would be late for.
    real = _run_real(options) if options.real else None
    if options.trials:
        found = run_takeovers(options.trials, options.seed, _tell).results()
        results.update(found)
        columns.append(("simulation", found))
    if real is not None:
        results["real"] = real
        columns.append(("real processes", real))
    head = ("what", *(name for name, _ in columns))
    rows = [(text, *(_say(found, key) for _, found in columns)) for text, key in _ROWS]
    print(format_table(head, rows))
    for _, found in columns:
        for text in (*found["failed"], found["first_violation"]):
            if text:
                print(text)
    write_json(options.json, results)
    if options.docs is not None:
        write_section(options.docs, "bench takeover", _section(options, head, rows))
    return EXIT_OK if all(_good(found) for _, found in columns) else EXIT_FAILED


_ROWS = (
    ("takeovers made, of those tried", "made"),
    ("with which devices", "kinds"),
    ("policy cut after (ticks, at most)", "cut_ticks_max"),
    ("person in command after (ms, median)", "human_active_ms_p50"),
    ("the same, 99 of 100", "human_active_ms_p99"),
    ("the same, at most", "human_active_ms_max"),
    ("handbacks", "handbacks"),
    ("of them followed by a chunk from before", "stale_chunks_followed"),
    ("handbacks to a policy whose way was blocked there", "handbacks_blocked"),
    ("commands and windows judged", "commands"),
    ("beyond a limit or with a step", "limit_violations"),
)


def _say(found: dict[str, Any], key: str) -> str:
    if key == "made":
        return f"{found['made']}/{found['trials']}"
    if key == "kinds":
        return ", ".join(f"{kind} {count}" for kind, count in sorted(found["kinds"].items()))
    if key == "commands":
        return str(found["commands"] + found["windows"])
    return str(found[key])


def _good(found: dict[str, Any]) -> bool:
    return bool(
        found["made"] == found["trials"]
        and found["cut_ticks_max"] <= CUT_TICKS
        and found["human_active_ms_p99"] <= ACTIVE_MS
        and not found["limit_violations"]
        and not found["stale_chunks_followed"]
        and not found["failed"]
    )


def _run_real(options: argparse.Namespace) -> dict[str, Any]:
    # Needs ROS, which the simulation does not.
    from levine_policy_node.bench.takeover_real import run_real_takeovers
    from levine_policy_node.cli.isolation import isolate_dds

    isolate_dds()
    return run_real_takeovers(options.real, options.seed, _tell).results()


def _tell(text: str) -> None:
    print(text, flush=True)


def _section(
    options: argparse.Namespace, head: tuple[str, ...], rows: list[tuple[str, ...]]
) -> str:
    real = f" --real {options.real}" if options.real else ""
    return (
        "## Figures\n\n"
        f"```\nlevine bench takeover --trials {options.trials}{real} --docs {options.docs}\n"
        "```\n\nA policy moves the arm; a person takes over at a random moment, leads it for a "
        "while, and hands back or lets go. In the simulation everything is the production code "
        "but the bus, the clocks, the controller and the arm, which lose, delay and lag; four "
        "robots, half of them driven by windows, half by single positions. The judge is the one "
        "of `levine bench unsafe`: position, velocity, acceleration and jerk to 1e-9, and every "
        "seam. Times count from the press of the dead-man. "
        f"On {machine()}.\n\n{markdown_table(head, rows)}\n"
    )

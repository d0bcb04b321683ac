# SPDX-License-Identifier: Apache-2.0
"""`levine bench families`: every family's export against its own code, and on the arm."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.families import (
    PICK_PLACE,
    FamilyRow,
    Scope,
    measure,
    measure_pick_place,
)
from levine_policy_node.bench.machine_probe import HELD_UP_S
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.resources import share_directory

_HEADER = (
    "family",
    "robot",
    "parity",
    "commanded",
    "task",
    "through ROS",
    "in process",
    "stops",
    "violations",
    "repeated",
    "",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench families`."""
    parser.add_argument(
        "--only", default="", metavar="A,B", help="these families, and bundles that ship"
    )
    parser.add_argument(
        "--episodes", type=int, default=20, help="per trained family; 0 for parity only"
    )
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first episode")
    parser.add_argument(
        "--exports",
        type=Path,
        default=share_directory() / "examples" / "export",
        metavar="DIR",
        help="folder with bundles/, parity/ and closed_loop.yaml",
    )
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and fail if a family is missing, differs or loses by ROS."""
    isolate_dds()
    only = tuple(name for name in options.only.split(",") if name)
    scope = Scope(options.exports, only, options.episodes, options.seed)
    rows = measure(scope, _tell) if set(only) - set(PICK_PLACE) or not only else []
    shipped: list[FamilyRow] = []
    for name in PICK_PLACE if scope.episodes else ():
        if not only or name in only:
            shipped.append(measure_pick_place(name, scope))
            _tell(shipped[-1])
    table = [_cells(row) for row in (*rows, *shipped)]
    print(format_table(_HEADER, table))
    write_json(
        options.json,
        {
            "bench": "families",
            "rows": [row.document() for row in rows],
            "pick_place": [row.document() for row in shipped],
        },
    )
    if options.docs is not None:
        write_section(options.docs, "bench families", _text(options, table))
    return EXIT_OK if all(row.good for row in (*rows, *shipped)) else EXIT_FAILED


def _tell(row: FamilyRow) -> None:
    print("  ".join(cell for cell in _cells(row) if cell), flush=True)


def _cells(row: FamilyRow) -> tuple[str, ...]:
    return (
        row.family,
        row.robot,
        _number(row.parity_max_abs),
        _number(row.commanded_max_abs),
        row.task,
        _share(row.success, row.episodes),
        _share(row.success_direct, row.episodes),
        *_counts(row),
        row.error[:60] or ("" if row.good else "NOT GOOD"),
    )


def _counts(row: FamilyRow) -> tuple[str, ...]:
    counts = (row.stops, row.limit_violations, row.repeated)
    return tuple(str(count) if row.episodes else "" for count in counts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _share(value: float | None, episodes: int) -> str:
    return "" if value is None else f"{round(value * episodes)}/{episodes}"


def _text(options: argparse.Namespace, table: list[tuple[str, ...]]) -> str:
    return (
        "## Families\n\n"
        f"```\nlevine bench families --episodes {options.episodes} --docs {options.docs}\n```\n\n"
        "One export per family (`examples/export`). Parity: recorded joint states, frames, tasks "
        "and goals are published as messages, and what `policy_runtime` publishes is compared "
        "with the family's own code; largest difference of a joint target [rad], an effort "
        "[N m], or the hand's pose [m, rad]; at most 1e-5. Commanded: what the supervisor tells "
        "the controller at the time of a row, from the row [rad], with steps of a fifth, so that "
        "no limit stretches them, and chunks that are not blended. Families that are trained "
        "drive the simulated arm through the whole graph and in one process, on the same seeds "
        "from "
        f"{options.seed} on; stops by watchdogs, and violations of limits in the commands, are of "
        "the first. Repeated: episodes that were run again because the machine itself was held up "
        f"for more than {HELD_UP_S * 1e3:.0f} ms (a real-time process that only sleeps woke as "
        f"late), as virtual machines are. On {machine()}.\n\n"
        f"{markdown_table(_HEADER, table)}\n"
    )

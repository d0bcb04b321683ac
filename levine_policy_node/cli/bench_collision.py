# SPDX-License-Identifier: Apache-2.0
"""`levine bench collision`: what it costs to check where a chunk leads."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from levine_policy_node.bench.collision import CHUNK_S, measure
from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.robot import load_robot

_LIMIT_MS = 1.0
_EXIT_TOO_SLOW = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench collision`."""
    parser.add_argument("--chunks", type=int, default=500, help="for each robot (500)")
    parser.add_argument("--robots", nargs="+", default=["sim_so101", "fr3"], metavar="ROBOT")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Measure each robot and print a table."""
    rows = [measure(load_robot(name), options.chunks) for name in options.robots]
    head = ("robot", "pairs", "clear p50", "clear p99", "cut", "cut p50", "cut p99")
    cells = [
        (
            row.robot,
            str(row.pairs),
            f"{row.clear_ms_p50:.2f} ms",
            f"{row.clear_ms_p99:.2f} ms",
            f"{row.cut} of {row.chunks}",
            f"{row.cut_ms_p50:.2f} ms",
            f"{row.cut_ms_p99:.2f} ms",
        )
        for row in rows
    ]
    slowest = max(row.clear_ms_p50 for row in rows)
    print(format_table(head, cells))
    print(f"\na chunk that is clear takes {slowest:.2f} ms; {_LIMIT_MS:g} ms are allowed")
    write_json(
        options.json,
        {"bench": "collision", "limit_ms": _LIMIT_MS, "rows": [asdict(row) for row in rows]},
    )
    if options.docs is not None:
        text = (
            "## Checking where a chunk leads\n\n"
            f"```\nlevine bench collision --chunks {options.chunks} --docs {options.docs}\n```\n\n"
            f"Random motions of {CHUNK_S:g} s about home and a brake, checked for self-collision, "
            "the table, the workspace and the speed of the hand, in the thread of the supervisor "
            "that receives chunks. A chunk that is cut also needs a brake that is clear. "
            f"Processor time of the thread. Run on {machine()}.\n\n{markdown_table(head, cells)}\n"
        )
        write_section(options.docs, "bench collision", text)
    return EXIT_OK if slowest <= _LIMIT_MS else _EXIT_TOO_SLOW

# SPDX-License-Identifier: Apache-2.0
"""`levine bench gate`: what the last check before a command costs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.gate import measure
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.robot import load_robot

_LIMIT_MS = 0.3
_EXIT_TOO_SLOW = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench gate`."""
    parser.add_argument("--windows", type=int, default=5000, help="for each robot (5000)")
    parser.add_argument("--robots", nargs="+", default=["iiwa7", "fr3"], metavar="ROBOT")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Measure each robot and print a table."""
    rows = [measure(load_robot(name), options.windows) for name in options.robots]
    head = ("robot", "joints", "window p50", "window p99", "position p50", "position p99")
    cells = [
        (
            row.robot,
            str(row.joints),
            f"{row.window_ms_p50:.3f} ms",
            f"{row.window_ms_p99:.3f} ms",
            f"{row.position_ms_p50:.3f} ms",
            f"{row.position_ms_p99:.3f} ms",
        )
        for row in rows
    ]
    slowest = max(max(row.window_ms_p99, row.position_ms_p99) for row in rows)
    print(format_table(head, cells))
    print(f"\nthe gate takes {slowest:.3f} ms (p99); {_LIMIT_MS:g} ms are allowed")
    write_json(
        options.json,
        {"bench": "gate", "limit_ms": _LIMIT_MS, "rows": [asdict(row) for row in rows]},
    )
    if options.docs is not None:
        text = (
            "### What the last check costs\n\n"
            f"```\nlevine bench gate --windows {options.windows} --docs {options.docs}\n```\n\n"
            "Every tick of motions between random poses, as a window and as a single position. "
            f"Processor time of the thread. Run on {machine()}.\n\n{markdown_table(head, cells)}\n"
        )
        write_section(options.docs, "bench gate", text)
    return EXIT_OK if slowest <= _LIMIT_MS else _EXIT_TOO_SLOW

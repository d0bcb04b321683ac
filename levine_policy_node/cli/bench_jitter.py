# SPDX-License-Identifier: Apache-2.0
"""`levine bench jitter`: how punctual commands are while cameras, inference and recorder run."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.jitter import run_jitter
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench jitter`."""
    parser.add_argument("--rate-hz", type=float, nargs="+", default=[100.0, 200.0], metavar="HZ")
    parser.add_argument("--duration-s", type=float, default=60.0, metavar="S", help="per rate")
    parser.add_argument("--policy", default="so101_pick_place")
    parser.add_argument("--robot", default="sim_so101")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Measure each rate in a run of its own and print them."""
    isolate_dds()
    runs = [
        run_jitter(rate, options.duration_s, robot=options.robot, policy=options.policy)
        for rate in options.rate_hz
    ]
    head = ("rate", "p99 error", "rclpy timer", "ratio", "longest gap", "gaps > 3 periods")
    rows = [
        (
            f"{r.rate_hz:g} Hz",
            f"{r.p99_ms:.2f} ms",
            f"{r.baseline_p99_ms:.2f} ms",
            f"{r.ratio_p99:.1f}",
            f"{r.gap_max_ms:.1f} ms",
            f"{r.gaps_over_3_periods} (timer {r.baseline_gaps_over_3_periods})",
        )
        for r in runs
    ]
    print(format_table(head, rows))
    results = [{**asdict(r), "ratio_p99": round(r.ratio_p99, 2)} for r in runs]
    write_json(options.json, {"bench": "jitter", **results[0], "rows": results})
    if options.docs is not None:
        text = (
            "## Punctuality of commands\n\n"
            f"```\nlevine bench jitter --duration-s {options.duration_s:g} --docs {options.docs}\n"
            "```\n\n"
            "Time between two commands of the supervisor while two cameras, inference and the "
            "recorder run, beside an rclpy timer of the same rate in the process that infers, in "
            "the same run: 99th percentile of the distance from the period, and gaps. A command "
            "counts when it is handed to the middleware, the timer when its callback begins. "
            "Supervisor "
            f"under {runs[0].scheduler}. Run on {machine()}.\n\n{markdown_table(head, rows)}\n"
        )
        write_section(options.docs, "bench jitter", text)
    return EXIT_OK

# SPDX-License-Identifier: Apache-2.0
"""`levine bench delay`: what a slow inference costs, for each way to merge chunks."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.bench.delay import WAYS, Way, run_delays
from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.core.success_rate import wilson_interval


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench delay`."""
    parser.add_argument(
        "--delay-ms", type=float, nargs="+", default=[0.0, 100.0, 200.0], metavar="MS"
    )
    parser.add_argument("--episodes", type=int, default=40, help="per way and delay")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="ways with this in their policy or name"
    )
    parser.add_argument("--robot", default="sim_so101")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Run every case, print the table and write what was asked for."""
    seeds = range(options.seed, options.seed + options.episodes)
    delays_s = [ms / 1e3 for ms in options.delay_ms]
    ways = tuple(w for w in WAYS if options.only in f"{w.policy} {w}")
    found: dict[tuple[Way, float], str] = {}
    rows: list[dict[str, object]] = []
    for result in run_delays(ways, delays_s, seeds, options.workers, robot=options.robot):
        low, high = wilson_interval(result.successes, result.episodes)
        text = (
            f"{result.successes}/{result.episodes} [{100 * low:.0f}-{100 * high:.0f} %] "
            f"{result.success_s:.1f} s, {result.gap_mrad:.0f} mrad"
        )
        way = f"{result.way.policy}, {result.way}"
        print(f"{way}, {1e3 * result.delay_s:.0f} ms: {text}", flush=True)
        found[result.way, result.delay_s] = text
        rows.append(
            {
                "policy": result.way.policy,
                "executor": str(result.way),
                "delay_ms": 1e3 * result.delay_s,
                "episodes": result.episodes,
                "successes": result.successes,
                "wilson95": [round(low, 4), round(high, 4)],
                "success_s": result.success_s,
                "seam_gap_mrad_p50": result.gap_mrad,
            }
        )
    header = ["policy", "executor", *(f"{1e3 * delay_s:.0f} ms" for delay_s in delays_s)]
    table = [[w.policy, str(w), *(found[w, delay_s] for delay_s in delays_s)] for w in ways]
    print(format_table(header, table))
    write_json(options.json, {"bench": "delay", "rows": rows})
    if options.docs is not None:
        command = f"levine bench delay --episodes {options.episodes} --docs {options.docs}"
        text = (
            f"## Success with a slow inference\n\n```\n{command}\n```\n\nDemo policies in "
            "closed loop (simulation without ROS), same seeds, with a delay from observation to "
            "chunk; successes with 95 % Wilson intervals, the mean time of a success, "
            "and how far a chunk was from what was being played, at the seam and before merging "
            "(median of each chunk's worst joint). Run on "
            f"{machine()}.\n\n{markdown_table(header, table)}\n"
        )
        write_section(options.docs, "bench delay", text)
    return EXIT_OK

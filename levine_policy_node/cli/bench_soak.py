# SPDX-License-Identifier: Apache-2.0
"""`levine bench soak`: false stops and leaks in a long run on saturated processors."""

from __future__ import annotations

import argparse

from levine_policy_node.bench.soak import RSS_LIMIT_MB_H, Soak, run_soak
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench soak`."""
    parser.add_argument("--minutes", type=float, default=30.0, metavar="MIN")
    parser.add_argument("--policy", default="so101_pick_place")
    parser.add_argument("--robot", default="sim_so101")


def run(options: argparse.Namespace) -> int:
    """Run, print what grew, and fail if a bar is missed."""
    isolate_dds()
    found = run_soak(
        options.minutes,
        robot=options.robot,
        policy=options.policy,
        on_news=lambda text: print(text, flush=True),
    )
    print(format_table(("what", "found", "bar", ""), _bars(found)))
    write_json(options.json, {"bench": "soak", **found.results()})
    return EXIT_OK if found.passed else EXIT_FAILED


def _bars(found: Soak) -> list[tuple[str, ...]]:
    rows = [
        _bar("false stops", len(found.stops), "0", good=not found.stops),
        _bar("commands beyond a limit", found.violations, "0", good=not found.violations),
        ("missed ticks", str(found.missed_ticks), "-", ""),
    ]
    for grown in found.growths:
        name, slope = grown.process, grown.rss_mb_per_h
        rows += [
            _bar(
                f"{name}: memory ({grown.rss_mb:.0f} MB)",
                f"{slope:+.2f} MB/h",
                f"< {RSS_LIMIT_MB_H:g} MB/h",
                good=slope < RSS_LIMIT_MB_H,
            ),
            _bar(f"{name}: files added", grown.descriptors, "0", good=grown.descriptors <= 0),
            _bar(f"{name}: threads added", grown.threads, "0", good=grown.threads <= 0),
            _bar(f"{name}: shared memory added", grown.shared, "0", good=grown.shared <= 0),
        ]
    return rows


def _bar(what: str, found: object, bar: str, *, good: bool) -> tuple[str, ...]:
    return what, str(found), bar, "pass" if good else "FAIL"

# SPDX-License-Identifier: Apache-2.0
"""`levine bench soak`: false stops and leaks in a long run on saturated processors."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.process_growth import RSS_LIMIT_MB_H
from levine_policy_node.bench.soak import (
    LATE_P50_MS,
    LATE_P99_MS,
    LATE_P99_SATURATED_MS,
    Soak,
    run_soak,
)
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench soak`."""
    parser.add_argument("--minutes", type=float, default=30.0, metavar="MIN")
    parser.add_argument("--policy", default="so101_pick_place")
    parser.add_argument("--robot", default="sim_so101")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Run, print what grew, and fail if a bar is missed."""
    isolate_dds()
    found = run_soak(
        options.minutes,
        robot=options.robot,
        policy=options.policy,
        on_news=lambda text: print(text, flush=True),
    )
    head, rows = ("what", "found", "bar", ""), _bars(found)
    print(format_table(head, rows))
    apart = _apart(found)
    print(apart)
    write_json(options.json, {"bench": "soak", **found.results()})
    if options.docs is not None:
        command = f"levine bench soak --minutes {options.minutes:g} --docs {options.docs}"
        text = (
            f"### Half an hour without a processor left\n\n```\n{command}\n```\n\n"
            f"{found.episodes} episodes of {options.policy}, {found.minutes:g} min of them beside "
            "one program per processor that takes all of it. A command is late from the time it "
            "is for until it is handed to the middleware. Memory after the first "
            f"{found.warm_up_s / 60.0:.0f} min. {apart} Run on {machine()}.\n\n"
            f"{markdown_table(head, rows)}\n"
        )
        write_section(options.docs, "bench soak", text)
    return EXIT_OK if found.passed else EXIT_FAILED


def _apart(found: Soak) -> str:
    """What is not counted, since the machine itself stood still."""
    return (
        "Not counted, for the machine itself or the simulated arm was held up then: "
        f"{len(found.stops_held_up)} stops, {found.violations.held_up} commands beyond a limit, "
        f"{found.missed_ticks.held_up} missed ticks."
    )


def _bars(found: Soak) -> list[tuple[str, ...]]:
    idle, saturated = found.idle, found.saturated
    stops, beyond = len(found.stops), found.violations.calm
    rows = [
        _bar("false stops", stops, "0", good=not stops),
        _bar("commands beyond a limit", beyond, "0", good=not beyond),
        ("missed ticks", str(found.missed_ticks.calm), "-", ""),
        _late("commands late, idle, p50", idle.p50_ms, LATE_P50_MS),
        _late("commands late, idle, p99", idle.p99_ms, LATE_P99_MS),
        _late("commands late, saturated, p50", saturated.p50_ms, LATE_P50_MS),
        _late("commands late, saturated, p99", saturated.p99_ms, LATE_P99_SATURATED_MS),
        ("chunk to command, idle, p50", f"{idle.chunk_to_command_ms:.1f} ms", "-", ""),
        ("chunk to command, saturated, p50", f"{saturated.chunk_to_command_ms:.1f} ms", "-", ""),
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


def _late(what: str, found_ms: float, most_ms: float) -> tuple[str, ...]:
    return _bar(what, f"{found_ms:.2f} ms", f"{most_ms:g} ms", good=found_ms <= most_ms)


def _bar(what: str, found: object, bar: str, *, good: bool) -> tuple[str, ...]:
    return what, str(found), bar, "pass" if good else "FAIL"

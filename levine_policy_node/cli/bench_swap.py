# SPDX-License-Identifier: Apache-2.0
"""`levine bench swap`: policies swapped at random moments, and bad bundles refused meanwhile."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.swap import run_swaps
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench swap`."""
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--bad", type=int, default=100, help="bad bundles that are offered")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", default="so101_pick_place")
    parser.add_argument("--robot", default="sim_so101")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Measure, print and fail if a swap was not made or a bad bundle was."""
    isolate_dds()
    found = run_swaps(
        options.swaps,
        options.bad,
        options.seed,
        robot=options.robot,
        policy=options.policy,
        on_news=lambda text: print(text, flush=True),
    ).results()
    head = ("what", "")
    offered = found["refused"] + found["wrongly_accepted"]
    rows = [
        ("swaps", f"{found['swaps']} ({found['in_motion']} in motion)"),
        ("from request to outcome, median (longest)", _pair(found, "swap_s_p50", "swap_s_max")),
        (
            "of those, nothing was held up",
            f"{found['calm']} ({found['calm_in_motion']} in motion)",
        ),
        ("missed ticks", str(found["missed_ticks"])),
        ("limit violations", str(found["limit_violations"])),
        ("stops by a watchdog", str(len(found["stops"]))),
        (
            f"the same in the {100.0 * found['held_up_share']:.0f} % of the seconds in which "
            "machine or arm were held up",
            f"{found['missed_ticks_held_up']}, {found['limit_violations_held_up']}, "
            f"{len(found['stops_held_up'])}",
        ),
        ("longest gap between commands", f"{found['gap_ms_max']:.1f} ms"),
        ("bad bundles refused", f"{found['refused']}/{offered}"),
        (
            "memory of the runtime after the first, last swap",
            f"{found['memory_mb_first']}, {found['memory_mb_last']} MB",
        ),
        ("policies in memory after a swap, at most", str(found["policies_max"])),
    ]
    print(format_table(head, rows))
    write_json(options.json, {"bench": "swap", **found})
    if options.docs is not None:
        _write(options, markdown_table(head, rows))
    good = not found["failed"] and not found["wrongly_accepted"]
    return EXIT_OK if good else EXIT_FAILED


def _pair(found: dict[str, float], typical: str, worst: str) -> str:
    return f"{found[typical]} s ({found[worst]} s)"


def _write(options: argparse.Namespace, table: str) -> None:
    text = (
        "## Hot swap\n\n"
        f"```\nlevine bench swap --swaps {options.swaps} --bad {options.bad} "
        f"--docs {options.docs}\n```\n\n"
        "Policies swapped at random moments in the running graph, half while the policy moves "
        "the simulated arm, half while it stands; between them bundles that are half-written, "
        "corrupt, for another robot, with joints in a wrong order or with degrees for "
        "radians. Each swap includes five observations in shadow and waits for up to two minutes "
        "until nothing is held up; what is counted is of the seconds in which policies were "
        "swapped or offered. Held up: a real-time "
        "process that only sleeps woke more than a tick late, as happens on virtual machines, "
        "or the simulated arm heard a command or began a cycle over 20 ms late. "
        f"On {machine()}.\n\n"
        f"{table}\n"
    )
    write_section(options.docs, "bench swap", text)

# SPDX-License-Identifier: Apache-2.0
"""`levine bench unsafe`: random commands and acts, and a judge of everything that is sent."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.unsafe import Campaign, run_campaign
from levine_policy_node.bench.unsafe_campaign import Judged
from levine_policy_node.bench.unsafe_gate import GateCampaign, run_gate_campaign
from levine_policy_node.bench.unsafe_oracle import KINDS, Verdict
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.errors import ConfigError

_PART = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench unsafe`."""
    parser.add_argument("--sequences", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first sequence, to go on from there"
    )
    parser.add_argument(
        "--gate", action="store_true", help="the last gate by itself, with what no shaper made"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Run the campaign, print it, and fail if anything unsafe was sent."""
    for name, least in (("sequences", 1), ("seed", 0), ("first", 0), ("jobs", 1)):
        if getattr(options, name) < least:
            raise ConfigError("levine bench unsafe", f"--{name}", f"must be at least {least}")
    found = _in_parts(options, run_gate_campaign if options.gate else run_campaign)
    results = found.results()
    head, rows = _table(found)
    summary = f"{found.summary}; {results['sequences_per_s']:g}/s and core"
    print(f"{summary}\n{format_table(head, rows)}")
    if found.whole.first:
        print(f"first: {found.whole.first}")
    write_json(options.json, {"bench": "unsafe", "seed": options.seed, **results})
    if options.docs is not None:
        gate = " --gate" if options.gate else ""
        command = (
            f"levine bench unsafe{gate} --sequences {options.sequences} --seed {options.seed}"
        )
        text = f"`{command}`: {summary}, on {machine()}.\n\n"
        section = "bench unsafe gate" if options.gate else "bench unsafe"
        write_section(options.docs, section, text + markdown_table(head, rows))
    return EXIT_OK if found.whole.unsafe == 0 else EXIT_FAILED


def _in_parts(options: argparse.Namespace, part: Callable[[int, int, int], Judged]) -> Judged:
    """The whole campaign, in parts that may be done by several processes."""
    end = options.first + options.sequences
    firsts = range(options.first, end, _PART)
    sizes = [min(_PART, end - first) for first in firsts]
    found: Judged = GateCampaign() if options.gate else Campaign()
    seeds = [options.seed] * len(sizes)
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, one in enumerate(pool.map(part, sizes, seeds, firsts), start=1):
            found.merge(one)
            if number % (10 * options.jobs) == 0:
                news = f"{found.sequences} sequences, unsafe {found.whole.unsafe}"
                print(news, flush=True)
    return found


def _table(found: Judged) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    head = ("robot", "commands", "windows", "unsafe", *KINDS[1:6])
    rows = [_row(name, verdict) for name, verdict in sorted(found.verdicts.items())]
    return head, [*rows, _row("all", found.whole)]


def _row(name: str, verdict: Verdict) -> tuple[str, ...]:
    worst = (f"{verdict.worst[kind]:.2g}" for kind in KINDS[1:6])
    return (name, str(verdict.commands), str(verdict.windows), str(verdict.unsafe), *worst)

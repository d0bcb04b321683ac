# SPDX-License-Identifier: Apache-2.0
"""`levine bench sil`: faults brought about in real processes."""

from __future__ import annotations

import argparse

from levine_policy_node.bench.sil_faults import SilRow
from levine_policy_node.bench.sil_faults import run as run_sil
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench sil`."""
    parser.add_argument("--trials", type=int, help="of each case; default: 20 to 200, by case")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these cases")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--shared-memory",
        action="store_true",
        help="let Fast DDS use its shared memory, which suffers where processes are killed",
    )
    parser.add_argument("--policy", default="so101_pick_place")
    parser.add_argument("--robot", default="sim_so101")


def run(options: argparse.Namespace) -> int:
    """Run the cases, print them and fail if one did."""
    isolate_dds(shared_memory=options.shared_memory)
    rows = run_sil(
        options.trials,
        only=options.only,
        seed=options.seed,
        robot=options.robot,
        policy=options.policy,
        on_news=lambda text: print(text, flush=True),
    )
    head = ("case", "rows", "trials", "failed", "max", "p99", "limit", "")
    print(format_table(head, [_cells(row) for row in rows]))
    for row in rows:
        if row.skipped:
            print(f"  {row.name}: skipped, {row.skipped}")
        for problem in row.problems:
            print(f"  {row.name}: {problem}")
    failed = sum(row.failed for row in rows)
    results = {"bench": "sil", "failed": failed, "cases": [row.results() for row in rows]}
    write_json(options.json, results)
    return EXIT_FAILED if failed else EXIT_OK


def _cells(row: SilRow) -> tuple[str, ...]:
    return (
        row.name,
        ", ".join(map(str, row.rows)),
        str(row.trials),
        str(row.failed),
        _ms(row.reaction_ms_max),
        _ms(row.reaction_ms_p99),
        _ms(row.limit_ms),
        ", ".join(f"{key} {value:g}" for key, value in row.figures.items()),
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"

# SPDX-License-Identifier: Apache-2.0
"""`levine faults`: brings about every fault there is, and times what comes of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.dst.trace import Trace
from levine_policy_node.faults.campaign import CaseResult, run_campaign, run_trial
from levine_policy_node.faults.case import Case
from levine_policy_node.faults.library import CASES, find_case
from levine_policy_node.faults.report import HEAD, document, markdown, not_covered, rows
from levine_policy_node.faults.sil_results import read_sil_results

_DEFAULT_TRIALS = 4
_NOT_SHOWN = {"cycle", "window", "command"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine faults`."""
    parser.add_argument(
        "--trials", type=int, default=_DEFAULT_TRIALS, metavar="N", help="per case"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first trial")
    parser.add_argument("--case", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--replay", metavar="CASE", help="run one trial and print what happened")
    parser.add_argument(
        "--sil",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="results of `levine bench sil` and `soak` to add",
    )
    parser.add_argument("--docs", type=Path, metavar="FILE", help="write the document")
    parser.add_argument("--list", action="store_true", help="list the cases")


def run(options: argparse.Namespace) -> int:
    """Run a campaign, or one trial again."""
    if options.list:
        print(format_table(("row", "case", "where", "what is done"), [_listed(c) for c in CASES]))
        return EXIT_OK
    if options.replay is not None:
        return _replay(find_case(options.replay), options.seed)
    sil = tuple(result for file in options.sil for result in read_sil_results(file))
    chosen = CASES if options.case is None else tuple(find_case(name) for name in options.case)
    campaign = run_campaign(chosen, options.trials, options.seed, _tell)
    print(format_table(HEAD, rows(campaign)))
    failures = [failure for result in campaign.results for failure in result.failures]
    for failure in failures:
        print(f"FAILED {failure.case} ({failure.where}): {failure.problem}\n  {failure.replay}")
    found = document(campaign, sil)
    print(
        f"{found['trials']} trials, {found['failed']} failed; "
        f"{found['simulated_s']:g} simulated s in {found['took_s']:g} s"
    )
    if options.case is None:
        missing = [str(row) for row in sorted(not_covered(sil))]
        print(
            f"{found['rows_covered']} of {found['rows']} hazards shown; not shown yet: "
            f"{', '.join(missing)}"
        )
    write_json(options.json, found)
    if options.docs is not None:
        options.docs.write_text(markdown(campaign, sil))
    return EXIT_FAILED if found["failed"] else EXIT_OK


def _tell(result: CaseResult) -> None:
    if sys.stderr.isatty():
        print(f"\r{result.case.name:40}", end="", file=sys.stderr, flush=True)


def _listed(case: Case) -> tuple[str, str, str, str]:
    return str(case.row), case.name, case.where, case.injection


def _replay(case: Case, seed: int) -> int:
    where, outcome, trace = run_trial(case, seed)
    print(f"{case.name}, seed {seed}: {case.injection}; {where}")
    if trace is not None:
        _show(trace)
        print(f"trace {outcome.digest}")
    if outcome.reaction_ms is not None:
        print(f"reaction {outcome.reaction_ms:.1f} ms")
    for problem in outcome.problems:
        print(f"FAILED: {problem}")
    return EXIT_FAILED if outcome.problems else EXIT_OK


def _show(trace: Trace) -> None:
    begins_ns = trace.records[0].time_ns
    for record in trace.records:
        if record.kind not in _NOT_SHOWN:
            text = " ".join(str(value) for value in record.values)
            print(f"  {(record.time_ns - begins_ns) / 1e9:9.4f} s  {record.kind:11} {text}")

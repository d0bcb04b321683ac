# SPDX-License-Identifier: Apache-2.0
"""`levine bench`: one benchmark per file, each with its own options."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

# Imported only when asked for, as in `cli/main.py`.
BENCHES = {
    "chunks": "seams between chunks: our placement beside the rules of other projects",
    "latency": "what the runtime adds to an inference, from the newest frame to the wire",
    "delay": "success of the demo policy with a slow inference, for each merge rule",
    "overhead": "what an inference takes beside the runs of ONNX Runtime in it",
    "takeover": "people take over and hand back: when is the policy cut, does anything step?",
    "unsafe": "random commands and acts: is anything unsafe ever sent?",
    "swap": "policies swapped at random moments, and bad bundles refused meanwhile",
    "families": "every family's export: parity with its own code, success on the arm",
    "collision": "what it costs to check where a chunk leads",
    "gate": "what the last check before a command costs",
    "sil": "faults brought about in real processes: killed, stopped, starved, lied to",
    "soak": "a long run on saturated processors: false stops, and what grows",
    "recorder": "what recording costs, keeps, and loses when it is killed",
    "jitter": "how punctual commands are while cameras, inference and recorder run",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmarks of `levine bench`."""
    benches = parser.add_subparsers(dest="bench", metavar="BENCH", required=True)
    for name, summary in BENCHES.items():
        bench = benches.add_parser(name, help=summary, description=summary)
        # Without a default here, `levine bench --json FILE chunks` works too.
        bench.add_argument(
            "--json",
            type=Path,
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="write results as JSON",
        )
        importlib.import_module(f"{__package__}.bench_{name}").add_arguments(bench)


def run(options: argparse.Namespace) -> int:
    """Run the chosen benchmark."""
    return int(importlib.import_module(f"{__package__}.bench_{options.bench}").run(options))

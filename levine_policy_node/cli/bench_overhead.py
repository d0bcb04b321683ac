# SPDX-License-Identifier: Apache-2.0
"""`levine bench overhead`: what an inference takes beside the runs of ONNX Runtime in it."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import asdict
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import load_robot

_LIMIT = 0.10
_EXIT_TOO_SLOW = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench overhead`."""
    parser.add_argument("--pairs", type=int, default=30, help="inferences of each kind (30)")
    parser.add_argument("--robot", default="sim_so101")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Measure both samplers with every size of graph and print them."""
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("levine bench overhead", "", "needs onnx", "pip install onnx")
    from levine_policy_node.bench import overhead

    robot = load_robot(options.robot)
    rows = [
        overhead.run_overhead(loop, size, options.pairs, robot)
        for size in overhead.SIZES
        for loop in overhead.LOOPS
    ]
    head = ("loop", "step graph", "ONNX Runtime", "added", "overhead", "on the clock")
    cells = [
        (
            f"{row.loop}, {overhead.STEPS} steps",
            f"{row.parameters / 1e6:.1f} M, {row.graph_mb:g} MB",
            f"{row.bare_ms:.2f} ms",
            f"{row.infer_ms - row.bare_ms:.2f} ms",
            f"{row.ratio:.1%}",
            f"{row.wall_ratio:.1%}",
        )
        for row in rows
    ]
    worst = max(row.ratio for row in rows)
    print(format_table(head, cells))
    print(f"\nat most {worst:.1%} over bare runs; {_LIMIT:.0%} are allowed")
    results = [asdict(row) for row in rows]
    write_json(
        options.json, {"bench": "overhead", "ratio": worst, "limit": _LIMIT, "rows": results}
    )
    if options.docs is not None:
        text = (
            "## Overhead of the executor\n\n"
            f"```\nlevine bench overhead --pairs {options.pairs} --docs {options.docs}\n```\n\n"
            "A whole inference (observation, normalisation, sampler, joint targets) beside bare "
            "runs of the same graphs, in turns in one process: `encode` once and `step` "
            f"{overhead.STEPS} times on samples of 50 x 32. The graphs are transformers with the "
            "inputs of an action expert. What is added hardly grows with the graph, so that of "
            "one with a millisecond a step is a larger share. Processor time of the thread, "
            "medians of "
            f"{options.pairs}; the last column is the overhead on the clock. Run on {machine()}."
            f"\n\n{markdown_table(head, cells)}\n"
        )
        write_section(options.docs, "bench overhead", text)
    return EXIT_OK if worst <= _LIMIT else _EXIT_TOO_SLOW

# SPDX-License-Identifier: Apache-2.0
"""`levine bench latency`: what the runtime adds to an inference."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.latency import run_latency
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench latency`."""
    parser.add_argument("--pixels", type=int, default=224, help="width and height of both cameras")
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--policy", default="so101_pick_place")
    parser.add_argument("--robot", default="sim_so101")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Measure once and print the medians."""
    isolate_dds()
    found = run_latency(
        options.pixels, options.episodes, robot=options.robot, policy=options.policy
    )
    head = ("from ... to", "p50")
    rows = [
        ("newest frame received to chunk published", f"{found.frame_to_chunk_ms:.2f} ms"),
        ("the same without ONNX Runtime", f"{found.overhead_ms:.2f} ms"),
        ("a plain Python loop doing the same work", f"{found.plain_loop_ms:.2f} ms"),
        ("that loop without ONNX Runtime", f"{found.plain_overhead_ms:.2f} ms"),
        ("ratio to the plain loop", f"{found.ratio:.2f}"),
        (
            "chunk published to first message to the controller made with it",
            f"{found.chunk_to_command_ms:.1f} ms ({found.ticks:.1f} ticks)",
        ),
    ]
    print(format_table(head, rows))
    write_json(options.json, {"bench": "latency", **asdict(found), "ratio": round(found.ratio, 3)})
    if options.docs is not None:
        text = (
            "## Latency of the runtime\n\n"
            f"```\nlevine bench latency --docs {options.docs}\n```\n\n"
            f"Medians with two {found.pixels} px cameras while the graph drives the simulated "
            f"arm, on {machine()}.\n\n{markdown_table(head, rows)}\n"
        )
        write_section(options.docs, "bench latency", text)
    return EXIT_OK

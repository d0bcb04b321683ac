# SPDX-License-Identifier: Apache-2.0
"""`levine bench chunks`: how smooth, right and late chunks come out, ours and others'."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from levine_policy_node.bench.chunk_report import (
    arm_table,
    case_rows,
    chunk_section,
    gripper_table,
)
from levine_policy_node.bench.chunk_stream import StreamSpec
from levine_policy_node.bench.chunks import ABLATIONS, ChunkBench, run_chunks
from levine_policy_node.bench.docs_section import machine, write_section
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.errors import ConfigError

_IMAGE = "bench_chunks.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench chunks`."""
    bench = ChunkBench()
    parser.add_argument(
        "--policy-hz", type=float, nargs="+", default=list(bench.policies_hz), metavar="HZ"
    )
    parser.add_argument(
        "--latency-ms",
        type=float,
        nargs="+",
        default=[1000.0 * mean_s for mean_s, _ in bench.latencies_s],
        metavar="MS",
        help="mean from observation to chunk; it varies by a fifth to either side",
    )
    parser.add_argument("--seeds", type=int, default=bench.seeds, help="streams per case")
    parser.add_argument("--duration-s", type=float, default=bench.duration_s, metavar="S")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="replace the tables and the plot of a document"
    )


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, print the middle case and write what was asked for."""
    bench = _bench(options)
    rows = run_chunks(bench, _announce)
    ablations = run_chunks(replace(bench.middle(), executors=tuple(ABLATIONS)), _announce)
    main = case_rows(rows, bench)
    (spec,) = bench.middle().specs()
    print(f"\n{spec.policy_hz:g} Hz policy, {1000 * spec.latency_s:.0f} ms, on {machine()}")
    print(format_table(*arm_table([*main, *ablations])))
    print("\nGripper")
    print(format_table(*gripper_table(main)))
    results = {"machine": machine(), "rows": rows, "ablations": ablations}
    write_json(options.json, {"bench": "chunks", **results})
    if options.docs is not None:
        # matplotlib is needed only here.
        from levine_policy_node.bench.plots import plot_chunks

        plot_chunks(main, options.docs.parent / _IMAGE)
        section = chunk_section(bench, rows, ablations, _command(options), _IMAGE)
        write_section(options.docs, "bench chunks", section)
        print(f"\nwrote {options.docs} and {options.docs.parent / _IMAGE}")
    return EXIT_OK


def _bench(options: argparse.Namespace) -> ChunkBench:
    for name in ("seeds", "duration_s"):
        if getattr(options, name) <= 0:
            field = f"--{name.replace('_', '-')}"
            raise ConfigError("levine bench chunks", field, "must be positive")
    if min(options.policy_hz) < 2.0 or max(options.policy_hz) > 100.0:
        raise ConfigError("levine bench chunks", "--policy-hz", "must be from 2 to 100")
    if min(options.latency_ms) < 0.0 or max(options.latency_ms) > 1000.0:
        raise ConfigError("levine bench chunks", "--latency-ms", "must be from 0 to 1000")
    latencies_s = tuple((ms / 1000.0, ms / 5000.0) for ms in options.latency_ms)
    return ChunkBench(tuple(options.policy_hz), latencies_s, options.seeds, options.duration_s)


def _announce(spec: StreamSpec) -> None:
    print(f"{spec.policy_hz:g} Hz policy, {1000 * spec.latency_s:.0f} ms", flush=True)


def _command(options: argparse.Namespace) -> str:
    """What to type to get the same again."""
    default = ChunkBench()
    words = ["levine bench chunks"]
    if tuple(options.policy_hz) != default.policies_hz:
        words.append("--policy-hz " + " ".join(f"{hz:g}" for hz in options.policy_hz))
    if tuple(options.latency_ms) != tuple(1000.0 * mean_s for mean_s, _ in default.latencies_s):
        words.append("--latency-ms " + " ".join(f"{ms:g}" for ms in options.latency_ms))
    if options.seeds != default.seeds:
        words.append(f"--seeds {options.seeds}")
    if options.duration_s != default.duration_s:
        words.append(f"--duration-s {options.duration_s:g}")
    return " ".join([*words, f"--docs {options.docs}"])

# SPDX-License-Identifier: Apache-2.0
"""`levine bench recorder`: what recording costs, keeps, and loses when it is killed."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from levine_policy_node.bench.docs_section import machine, markdown_table, write_section
from levine_policy_node.bench.recorder import FullDisk, Recorded, figures, run_recorded
from levine_policy_node.bench.recorder_kills import Kills, run_kills
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table

CPU_LIMIT_PCT = 40.0
LOST_LIMIT_S = 1.0
_HEAD = ("measured", "found", "wanted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine bench recorder`."""
    parser.add_argument("--seconds", type=float, default=120.0, metavar="S", help="of recording")
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="kill -9 so often")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument(
        "--images",
        choices=("compressed", "raw"),
        default="compressed",
        help="what the cameras publish; of raw ones the middleware may lose many",
    )
    parser.add_argument(
        "--shared-memory",
        choices=("large", "default", "none"),
        default="large",
        help="of the cameras' driver: that of config/dds/fastdds_shared_memory.xml or Fast DDS's; "
        "or none at all, for anybody",
    )
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace a document's table")


def run(options: argparse.Namespace) -> int:
    """Record under load, on a full disk, and until killed; print what came of it."""
    isolate_dds(shared_memory=options.shared_memory != "none")
    recorded, disk = run_recorded(
        options.seconds,
        compressed=options.images == "compressed",
        large_memory=options.shared_memory == "large",
    )
    killed = run_kills(options.kills, options.seed, _progress)
    print()
    rows = _rows(recorded, disk, killed)
    print(format_table(_HEAD, rows))
    for problem in recorded.problems:
        print(f"problem: {problem}")
    ok = _holds(recorded, disk, killed)
    results = {**figures(recorded), **asdict(killed), "full_disk": asdict(disk), "holds": ok}
    chosen = {"images": options.images, "shared_memory": options.shared_memory}
    write_json(options.json, {"bench": "recorder", **chosen, **results})
    if options.docs is not None:
        _write_docs(options, rows)
    return EXIT_OK if ok else EXIT_FAILED


def _progress(kills: int, lost_s: float) -> None:
    print(f"\r{kills} kills, at most {lost_s:.2f} s lost", end="", flush=True)


def _rows(recorded: Recorded, disk: FullDisk, killed: Kills) -> list[tuple[str, str, str]]:
    before, after = recorded.jitter_without_ms_p99
    by_topic = ", ".join(f"{n} of {topic}" for topic, n in recorded.missing.items())
    return [
        ("recorded", f"{recorded.messages} messages, {recorded.mb_per_s:.1f} MB/s", ""),
        ("messages missing", f"{recorded.drops}{f' ({by_topic})' if by_topic else ''}", "0"),
        ("processor, of one core", f"{recorded.cpu_pct:.0f} %", f"{CPU_LIMIT_PCT:.0f} %"),
        ("jitter of commands, without", f"{before:.2f} and {after:.2f} ms", ""),
        ("jitter of commands, with", f"{recorded.jitter_with_ms_p99:.2f} ms", "the same"),
        ("kills", f"{killed.kills}, {killed.open_at_kill} in an open episode", ""),
        ("lost of an open episode", f"{killed.lost_s_max:.2f} s at most", f"{LOST_LIMIT_S:.0f} s"),
        ("episodes damaged", f"{killed.damaged} of {killed.closed}", "0"),
        ("longest repair", f"{killed.recover_s_max:.2f} s", ""),
        (f"full disk ({disk.kind})", "told" if disk.event else "not told", "told"),
        ("recorder on a full disk", "runs" if disk.alive else "died", "runs"),
        ("jitter on a full disk", f"{disk.jitter_ms_p99:.2f} ms", "the same"),
    ]


def _holds(recorded: Recorded, disk: FullDisk, killed: Kills) -> bool:
    """Whether everything that can be judged on any machine is as it must be."""
    return (
        recorded.drops == 0
        and not recorded.problems
        and recorded.cpu_pct <= CPU_LIMIT_PCT
        and killed.lost_s_max <= LOST_LIMIT_S
        and killed.damaged == 0
        and disk.event
        and disk.alive
    )


def _write_docs(options: argparse.Namespace, rows: list[tuple[str, str, str]]) -> None:
    text = (
        "## Figures\n\n"
        f"```\nlevine bench recorder --seconds {options.seconds:g} --kills {options.kills} "
        f"--docs {options.docs}\n```\n\n"
        f"Two 640x480 cameras at 30 Hz ({options.images}; shared memory of their driver: "
        f"{options.shared_memory}), joint states at 500 Hz, three command streams at 100 Hz, all "
        "from other processes through the middleware. Jitter is the 99th percentile of the "
        "distance of the time between two commands from the period, of the production control "
        "loop in a process of its own. A message is missing if it was sent during the episode and "
        f"is not in its file. Run on {machine()}.\n\n"
        f"{markdown_table(_HEAD, rows)}\n"
    )
    write_section(options.docs, "bench recorder", text)

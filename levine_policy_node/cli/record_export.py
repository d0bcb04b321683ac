# SPDX-License-Identifier: Apache-2.0
"""`levine record export`: recordings to a data set that others train on."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.progress import ProgressBar
from levine_policy_node.errors import ConfigError


def add_arguments(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the action and its options."""
    export = actions.add_parser("export", help="make a data set of episodes, or extend one")
    export.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="sessions, episodes, or directories of sessions",
    )
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data set")
    export.add_argument("--format", choices=("lerobot", "robomimic", "rlds"), default="lerobot")
    export.add_argument("--fps", type=int, help="rows per second (that of the slowest camera)")
    export.add_argument(
        "--images",
        choices=("video", "image"),
        default="video",
        help="lerobot: pictures as H.264 video, or as PNG without loss",
    )
    export.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="NAME",
        help="only this camera (again: ...)",
    )
    export.add_argument("--size", metavar="WxH", help="make pictures of this size")
    export.add_argument(
        "--outcome",
        action="append",
        default=[],
        choices=("success", "failure", "aborted", "unknown"),
        help="only episodes that ended so; repeat for more",
    )
    export.add_argument(
        "--all-rows",
        action="store_true",
        help="also where nobody drives: pauses, handovers",
    )
    export.add_argument("--robot", default="", help="robot file, if not the one recorded")
    # Given after the action, as a person would; SUPPRESS leaves what stands before it.
    export.add_argument(
        "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="its figures as JSON"
    )
    export.set_defaults(action=_export)


def _export(options: argparse.Namespace) -> int:
    from levine_policy_node.runtime.export.export_job import Step
    from levine_policy_node.runtime.export.recordings_export import (
        ExportRequest,
        export_recordings,
    )

    if options.fps is not None and options.fps < 1:
        raise ConfigError("levine record export", "--fps", f"{options.fps}; expected 1 or more")
    bar = ProgressBar("export")

    def tell(step: Step) -> None:
        why = f" ({step.why})" if step.why else ""
        bar.show(step.number, step.of, f"{step.source} {step.state}{why}")

    request = ExportRequest(
        paths=options.paths,
        out=options.out,
        kind=options.format,
        fps=options.fps,
        images=options.images,
        robot=options.robot,
        cameras=tuple(options.camera),
        outcomes=tuple(options.outcome),
        everything=options.all_rows,
        size=_size(options.size),
    )
    report = export_recordings(request, tell)
    bar.end()
    for name, why in report.left_out.items():
        print(f"left out {name}: {why}")
    print(
        f"{report.out}: {report.episodes} episodes, {report.frames} frames; "
        f"{report.added} episodes are new. README.md has questions for you (TODO)"
    )
    write_json(
        options.json,
        {
            "out": str(report.out),
            "episodes": report.episodes,
            "frames": report.frames,
            "added": report.added,
            "left_out": dict(report.left_out),
        },
    )
    return EXIT_OK


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError("levine record export", "--size", f"'{text}'; expected such as 128x96")
    return int(height), int(width)

# SPDX-License-Identifier: Apache-2.0
"""Recordings to a data set: what `levine record export` does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levine_policy_node.core.labels import SIRIUS_WINDOW_S
from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.episode_files import write_text
from levine_policy_node.runtime.export.data_card import data_card
from levine_policy_node.runtime.export.export_files import write_document
from levine_policy_node.runtime.export.export_job import (
    ExportPlan,
    ExportReport,
    Step,
    run_export,
)
from levine_policy_node.runtime.export.format_writer import (
    DataSet,
    EpisodeRecord,
    FormatName,
    FormatWriter,
    ImageKind,
)
from levine_policy_node.runtime.export.lerobot import LeRobotWriter
from levine_policy_node.runtime.export.record_log import SIDECAR
from levine_policy_node.runtime.export.recorded_episode import (
    CAMERA_MAX_AGE_S,
    JOINT_MAX_AGE_S,
    ExportRules,
)
from levine_policy_node.runtime.export.recorded_sources import (
    find_recorded,
    robot_of,
    source_of,
)
from levine_policy_node.runtime.export.rlds import RldsWriter
from levine_policy_node.runtime.export.robomimic import RobomimicWriter

CONTRACT_VERSION = 1
WRITERS: Mapping[FormatName, Callable[[Path, DataSet], FormatWriter]] = {
    "lerobot": LeRobotWriter,
    "robomimic": RobomimicWriter,
    "rlds": RldsWriter,
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What a user asks for.

    Attributes:
        paths: Sessions, episodes, or directories of sessions.
        out: Directory of the data set.
        kind: Format.
        fps: Rows per second; None is the rate of the robot's slowest camera.
        images: How pictures are kept, where the format has the choice.
        robot: Robot file, "" for the one the recordings name.
        cameras: Which cameras; empty for all of the robot file.
        outcomes: Only episodes that ended so; empty for all.
        everything: Also rows in which nobody drives.
        size: Height and width that pictures are made; None leaves them as they are.
    """

    paths: Sequence[Path]
    out: Path
    kind: FormatName = "lerobot"
    fps: int | None = None
    images: ImageKind = "video"
    robot: str = ""
    cameras: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    everything: bool = False
    size: tuple[int, int] | None = None


def export_recordings(request: ExportRequest, tell: Callable[[Step], None]) -> ExportReport:
    """Make or extend a data set of recordings.

    Args:
        request: What and where.
        tell: Hears what became of each recording.

    Raises:
        ConfigError: If an option does not fit.
        RecordingError: If a recording cannot be read, or the data set cannot be written.
    """
    out = request.out.absolute()
    if request.kind == "rlds" and not _NAME.fullmatch(out.name):
        raise ConfigError(
            "--out", "", f"'{out.name}' is no name that RLDS allows", "Use letters, digits and _"
        )
    recorded = find_recorded(request.paths)
    robot = robot_of(recorded, request.robot)
    rules = _rules(request, robot)
    data_set = DataSet(out.name, rules.fps, request.images, robot.name)
    contract = _contract(request, robot, data_set, rules)
    text = json.dumps(contract, sort_keys=True)
    sources = [
        source_of(episode, robot, rules, text, same_robot=not request.robot)
        for episode in recorded
        if not episode.unfit(request.outcomes)
    ]
    plan = ExportPlan(
        out=out,
        contract=contract,
        sources=sources,
        writer=lambda folder: WRITERS[request.kind](folder, data_set),
        describe=lambda folder, records: _describe(
            folder, records, data_set, request.kind, contract["rules"]
        ),
    )
    report = run_export(plan, tell)
    unfit = {r.name: why for r in recorded if (why := r.unfit(request.outcomes))}
    return ExportReport(
        report.out, report.episodes, report.frames, report.added, {**unfit, **report.left_out}
    )


def _rules(request: ExportRequest, robot: Robot) -> ExportRules:
    unknown = sorted(set(request.cameras) - set(robot.cameras))
    if unknown:
        raise UnknownNameError(str(robot.path), "cameras", unknown[0], robot.cameras)
    cameras = request.cameras or tuple(robot.cameras)
    slowest = min((robot.cameras[name].rate_hz for name in cameras), default=30.0)
    fps = request.fps or round(slowest)
    return ExportRules(fps, cameras, request.everything, request.size)


def _contract(
    request: ExportRequest, robot: Robot, data_set: DataSet, rules: ExportRules
) -> dict[str, Any]:
    """What all episodes of the data set share; plain values that YAML gives back unchanged."""
    kept = "all rows with a command" if rules.everything else "rows in which a policy or a person"
    return {
        "version": CONTRACT_VERSION,
        "format": request.kind,
        "fps": data_set.fps,
        "images": data_set.images if request.kind == "lerobot" else "image",
        "robot": robot.name,
        "robot_sha256": robot.sha256,
        "joints": list(robot.joint_names),
        "cameras": list(rules.cameras),
        "rows": "all" if rules.everything else "driven",
        "picture_size": None if rules.size is None else list(rules.size),
        "rules": {
            "clock": f"rows are {data_set.fps} per second of the ROS clock of the recording; "
            "`complementary_info.stamp_ns` is the true time, `timestamp` counts rows",
            "observation": "aligned as policy_executor does, from what had been received by then: "
            f"frames and joint states at most {CAMERA_MAX_AGE_S:g} s and {JOINT_MAX_AGE_S:g} s "
            "old, joint states interpolated at the capture of the oldest newest frame",
            "action": "the joint positions commanded to the arm after all limits, one period "
            "after the time of the observation",
            "rows": f"{kept}{'' if rules.everything else ' drives'}; "
            "`complementary_info.segment` counts stretches without a gap",
            "pre-intervention": f"labels reach {SIRIUS_WINDOW_S:g} s back from a takeover",
        },
    }


def _describe(
    folder: Path,
    records: Sequence[EpisodeRecord],
    data_set: DataSet,
    kind: FormatName,
    rules: Mapping[str, str],
) -> None:
    """Write what is about the data and not the data."""
    write_text(folder / "README.md", data_card(data_set, kind, rules, records))
    write_document(
        folder / SIDECAR / "provenance.json",
        {
            "episodes": [
                {"episode_index": r.index, "source": r.source, **r.provenance} for r in records
            ]
        },
    )
    lines = [
        json.dumps(
            {
                "episode_index": record.index,
                "type": "takeover",
                "start_frame": part["start_frame"],
                "end_frame": part["end_frame"],
                "start_time": part["start_s"],
                "end_time": part["end_s"],
                "reason": part["reason"],
                "trigger": part["trigger"],
                # Whether it helped is known only where the whole episode succeeded.
                "recovery_success": True if record.success else None,
            }
        )
        for record in records
        for part in record.interventions
    ]
    write_text(folder / SIDECAR / "interventions.jsonl", "".join(f"{line}\n" for line in lines))

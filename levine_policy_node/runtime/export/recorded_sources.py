# SPDX-License-Identifier: Apache-2.0
"""Which recordings are meant, and what each is exported with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from levine_policy_node.errors import RecordingError
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.runtime.episode_document import read_document
from levine_policy_node.runtime.episode_files import EpisodeFiles
from levine_policy_node.runtime.episode_reader import read_episode
from levine_policy_node.runtime.export.export_episode import ExportEpisode
from levine_policy_node.runtime.export.export_job import Source
from levine_policy_node.runtime.export.recorded_episode import ExportRules, exported


@dataclass(frozen=True, slots=True)
class Recorded:
    """An episode's directory and what its `episode.json` says."""

    files: EpisodeFiles
    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`<session>/<episode>`."""
        return (
            f"{self.document.get('session') or self.files.directory.parent.name}/{self.files.name}"
        )

    def unfit(self, outcomes: Sequence[str]) -> str:
        """Why it is not to be exported, or ""."""
        if self.document.get("discarded"):
            return "discarded"
        if not self.files.closed_file.exists():
            return "was never closed. Run levine record recover first"
        outcome = str(self.document.get("outcome", "unknown"))
        return f"outcome {outcome}" if outcomes and outcome not in outcomes else ""


def find_recorded(paths: Iterable[Path]) -> list[Recorded]:
    """The episodes of sessions, of roots of sessions, or named themselves, each once.

    Raises:
        RecordingError: If one is no such thing.
    """
    found: dict[Path, Recorded] = {}
    for path in paths:
        folders = _folders(path)
        if not folders:
            raise RecordingError(
                f"{path}: no episode. Give a session's directory, an episode's, or its .mcap"
            )
        for folder in folders:
            found.setdefault(folder.resolve(), _recorded(folder))
    return list(found.values())


def _folders(path: Path) -> list[Path]:
    if path.suffix == ".mcap":
        return [path.parent] if path.is_file() else []
    if (path / "episode.json").is_file():
        return [path]
    documents = [*path.glob("ep_*/episode.json"), *path.glob("*/ep_*/episode.json")]
    return sorted(document.parent for document in documents)


def _recorded(folder: Path) -> Recorded:
    files = EpisodeFiles(folder)
    document = read_document(files.document)
    if not document:
        raise RecordingError(f"{files.document}: is missing. Run levine record recover")
    return Recorded(files, document)


def _ran_on(session: Path) -> dict[str, Any]:
    """What `session.json` says of the computer, without its name, which may tell whose it is."""
    document = read_document(session / "session.json")
    host = document.get("host")
    told = cast("dict[str, Any]", host) if isinstance(host, dict) else {}
    return {
        "ros": document.get("ros", {}),
        "host": {name: value for name, value in told.items() if name != "name"},
    }


def robot_of(recorded: Sequence[Recorded], name: str) -> Robot:
    """The robot file that all of them were recorded with.

    Args:
        recorded: At least one.
        name: The file to take instead, "" for the one that they name.

    Raises:
        ConfigError: If there is no such file.
        RecordingError: If they are of different robots.
    """
    names = {str(_robot(r).get("name", "")) for r in recorded}
    if not name and len(names) != 1:
        raise RecordingError(
            f"the recordings are of several robots: {', '.join(sorted(names))}. Export each alone"
        )
    return load_robot(name or names.pop())


def _robot(recorded: Recorded) -> Mapping[str, Any]:
    found = recorded.document.get("robot")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def source_of(
    recorded: Recorded, robot: Robot, rules: ExportRules, contract: str, *, same_robot: bool
) -> Source:
    """The recording as something to export.

    Args:
        recorded: The recording.
        robot: Its robot file.
        rules: How rows are made.
        contract: Text of everything else that the result depends on.
        same_robot: Whether the robot file must be the very one of the recording.
    """
    document = recorded.document
    content = json.dumps(document, sort_keys=True) + contract
    held = _robot(recorded)

    def load() -> ExportEpisode | str:
        if same_robot and held.get("sha256") != robot.sha256:
            return f"{robot.path} has changed since. Say that it fits with --robot {robot.path}"
        return exported(read_episode(recorded.files.closed_file), robot, rules, document)

    provenance = {
        name: value
        for name, value in document.items()
        if name not in {"topics", "messages", "bytes", "format", "version", "state", "error"}
    }
    return Source(
        name=recorded.name,
        key=hashlib.sha256(content.encode()).hexdigest(),
        provenance={
            **provenance,
            "robot_sha256": held.get("sha256", ""),
            "ran_on": _ran_on(recorded.files.directory.parent),
        },
        load=load,
    )

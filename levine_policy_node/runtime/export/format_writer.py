# SPDX-License-Identifier: Apache-2.0
"""What a format of data sets has to do; `export_job` does the rest.

Episodes are written one after the other, each into files of its own, so that a run that was
interrupted goes on with the next and a later one adds to what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from levine_policy_node.runtime.export.export_episode import ExportEpisode

ImageKind = Literal["video", "image"]
FormatName = Literal["lerobot", "robomimic", "rlds"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """What all episodes of a data set share.

    Attributes:
        name: Of the data set, which is its directory's.
        fps: Frames per second; at most one rate per data set.
        images: How pictures are kept, where a format has the choice.
        robot: Name in the robot file.
    """

    name: str
    fps: int
    images: ImageKind
    robot: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an episode stands in the data set.

    Attributes:
        index: Its number.
        first_frame: Number of its first frame over all episodes.
        task_index: Number of its task over all tasks.
    """

    index: int
    first_frame: int
    task_index: int


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One episode that has been written; JSON keeps it.

    Attributes:
        source: `<session>/<episode>` of the recording.
        key: Hash of everything the files depend on.
        index: See `Place`.
        first_frame: See `Place`.
        task_index: See `Place`.
        task: What was to be done.
        frames: Number of frames.
        outcome: How it ended.
        success: Whether it did what it was to do.
        layout: Columns with type, width and meaning, and sizes of the cameras' pictures.
        files: Hash of every file that was written, by its path in the data set.
        written: What the format has to remember of it.
        facts: Values of the episode.
        interventions: As `export_episode.Intervention`.
        provenance: What the recording says about itself.
    """

    source: str
    key: str
    index: int
    first_frame: int
    task_index: int
    task: str
    frames: int
    outcome: str
    success: bool
    layout: Mapping[str, Any]
    files: Mapping[str, str]
    written: Mapping[str, Any]
    facts: Mapping[str, str | int | float | bool]
    interventions: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What writing an episode made.

    Attributes:
        files: Relative to the data set; on the disk.
        remember: JSON values that `finish` needs of the episode.
    """

    files: Sequence[str]
    remember: Mapping[str, Any]


class FormatWriter(Protocol):
    """Writes one data set into a directory that nobody reads yet."""

    def add(self, place: Place, episode: ExportEpisode) -> Written:
        """Write the files of one episode."""
        ...

    def reuse(self, old: Path, record: EpisodeRecord) -> Sequence[str]:
        """Take over an unchanged episode from the data set `old`, without altering that one.

        Returns:
            Its files, as `Written` has them.
        """
        ...

    def finish(self, records: Sequence[EpisodeRecord]) -> None:
        """Write what describes all episodes, in the order of their numbers."""
        ...

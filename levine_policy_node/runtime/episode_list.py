# SPDX-License-Identifier: Apache-2.0
"""Find recorded episodes, and check that they are what was recorded."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_document import read_document
from levine_policy_node.runtime.episode_files import EpisodeFiles, episode_directories
from levine_policy_node.runtime.episode_recovery import file_sha256

_UNREADABLE = (McapError, EOFError, ValueError, KeyError, struct.error)


@dataclass(frozen=True, slots=True)
class ListedEpisode:
    """One episode as its document tells it.

    Attributes:
        files: Where it is.
        document: Its `episode.json`, {} if there is none.
        problem: Why the document cannot be read, or "".
    """

    files: EpisodeFiles
    document: dict[str, Any]
    problem: str = ""

    @property
    def name(self) -> str:
        """Session and episode."""
        return f"{self.files.directory.parent.name}/{self.files.name}"


def listed_episodes(path: Path) -> list[ListedEpisode]:
    """Every episode at `path`, in order; see `episode_directories`.

    Raises:
        RecordingError: If there is no such path, or no episode in it.
    """
    if not path.exists():
        raise RecordingError(f"{path}: there is no such file or directory")
    found = [_listed(EpisodeFiles(directory)) for directory in episode_directories(path)]
    if not found:
        raise RecordingError(
            f"{path}: no episodes in it. Give a root of recordings, a session or an episode"
        )
    return found


def _listed(files: EpisodeFiles) -> ListedEpisode:
    try:
        return ListedEpisode(files, read_document(files.document))
    except RecordingError as error:
        return ListedEpisode(files, {}, str(error))


def problems_of(episode: ListedEpisode) -> list[str]:
    """What is wrong with a recorded episode; nothing if it is as it was recorded.

    The file is read to its end: every checksum in it, its summary, and the document's hash and
    counts are compared.
    """
    document, files = episode.document, episode.files
    if episode.problem:
        return [episode.problem]
    if not document:
        return ["there is no episode.json; levine record recover makes it from the recording"]
    if files.open_file.exists() or document.get("state") == "open":
        return ["it was not closed; levine record recover closes it"]
    if document.get("state") == "failed":
        return [f"recording failed: {document.get('error', '')}"]
    if not files.closed_file.exists():
        return [f"{files.closed_file.name} is missing"]
    return [*_differences(files.closed_file, document)]


def _differences(path: Path, document: dict[str, Any]) -> list[str]:
    found: list[str] = []
    size = path.stat().st_size
    if size != document.get("bytes"):
        found.append(f"the file has {size} bytes, episode.json says {document.get('bytes')}")
    try:
        if file_sha256(path) != document.get("file_sha256"):
            found.append("the file's sha256 is not that of episode.json")
        counts = _counts(path)
    except RecordingError as error:
        return [*found, str(error)]
    told = {name: topic["messages"] for name, topic in document.get("topics", {}).items()}
    found += [
        f"{name}: {counts[name]} messages, episode.json says {told.get(name, 0)}"
        for name in sorted(counts.keys() | told.keys())
        if counts[name] != told.get(name, 0)
    ]
    return found


def _counts(path: Path) -> Counter[str]:
    """Messages by topic, every checksum verified on the way."""
    counts: Counter[str] = Counter()
    names: dict[int, str] = {}
    try:
        with path.open("rb") as stream:
            for record in StreamReader(stream, validate_crcs=True).records:
                if isinstance(record, Channel):
                    names[record.id] = record.topic
                elif isinstance(record, Message):
                    counts[names[record.channel_id]] += 1
            stream.seek(0)
            summary = SeekingReader(stream, validate_crcs=True).get_summary()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error
    except _UNREADABLE as error:
        raise RecordingError(f"damaged ({type(error).__name__}: {error})") from error
    stated = summary.statistics if summary is not None else None
    if stated is None or stated.message_count != counts.total():
        raise RecordingError("damaged: its summary is missing or counts other messages")
    return counts

# SPDX-License-Identifier: Apache-2.0
"""Close the episodes that a crash left open: repair the file, then say what is in it.

The outcome of such an episode is unknown unless somebody had judged it; what happened in it is
read from its own messages. Each step may be repeated, so a crash in here costs nothing either.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.reader import make_reader

from levine_policy_node.core.cdr import CdrError, read_header
from levine_policy_node.core.episode import Episode, Provenance
from levine_policy_node.core.handovers import mode_changes
from levine_policy_node.core.message_bytes import read_diagnostics, read_string
from levine_policy_node.core.units import StampNs, seconds
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_document import episode_document, read_document
from levine_policy_node.runtime.episode_files import (
    EpisodeFiles,
    episode_directories,
    locked_session,
    write_json,
    write_text,
)
from levine_policy_node.runtime.mcap_recovery import Repair, repair_mcap
from levine_policy_node.runtime.mcap_scan import Scan
from levine_policy_node.runtime.mcap_writer import RecordedTopic, WriterReport
from levine_policy_node.runtime.rosbag_metadata import rosbag_metadata

_FOLLOWED = ("supervisor/mode", "supervisor/events", "policy/raw_chunk", "task")
_LATCHED_QOS = "durability: 1"


@dataclass(frozen=True, slots=True)
class RecoveredEpisode:
    """What became of one episode.

    Attributes:
        directory: Of the episode.
        repair: Of its file, None if the crash came before there was one.
        duration_s: From its start to its last message [s].
    """

    directory: Path
    repair: Repair | None
    duration_s: float

    def words(self) -> str:
        """One line for a person."""
        if self.repair is None:
            return f"{self.directory}: nothing had been recorded"
        kept = f"{self.repair.messages} messages, {self.duration_s:.1f} s"
        torn = f", {self.repair.torn_bytes} torn bytes put aside" if self.repair.torn_bytes else ""
        hidden = f", {self.repair.hidden} damaged records hidden" if self.repair.hidden else ""
        return f"{self.directory}: recovered {kept}{torn}{hidden}"


def unfinished_episodes(root: Path) -> Iterator[Path]:
    """Directories of episodes that were not closed, in a root, a session or an episode."""
    for directory in episode_directories(root):
        files = EpisodeFiles(directory)
        if files.open_file.exists():
            yield directory
            continue
        try:
            state = read_document(files.document).get("state", "open")
        except RecordingError:
            state = "open"
        if state == "open":
            yield directory


def recover_beside(directories: list[Path], say: Callable[[str], object]) -> None:
    """Close episodes in a thread of their own, which nothing waits for.

    It may take a minute, and what it is killed at is done again at the next start.
    """

    def recover() -> None:
        for directory in directories:
            say(_recovered_or_why_not(directory))

    if directories:
        threading.Thread(target=recover, name="recovery", daemon=True).start()


def _recovered_or_why_not(directory: Path) -> str:
    try:
        return recover_episode(directory).words()
    except RecordingError as error:
        return f"not recovered: {error}"


def recover_episode(directory: Path) -> RecoveredEpisode:
    """Close one episode.

    Raises:
        RecordingError: If a recorder is at work in its session, or a file cannot be repaired.
    """
    with locked_session(directory.parent):
        files = EpisodeFiles(directory)
        try:
            before = read_document(files.document)
        except RecordingError:
            before = {}
        if not files.recording.exists():
            error = "the recorder ended before it had recorded anything"
            known = {**before, "recovered": True, "outcome": before.get("outcome", "unknown")}
            document = episode_document(known, files.open_file, WriterReport(), "failed", error)
            write_json(files.document, document)
            return RecoveredEpisode(directory, None, 0.0)
        return _recover(files, before)


def _recover(files: EpisodeFiles, before: dict[str, Any]) -> RecoveredEpisode:
    repair = repair_mcap(files.recording)
    report = _report(files.recording, repair.scan)
    head, episode = _followed(files, before, report)
    ended = report.last_ns or int(episode.start_ns)
    episode = episode.ended(StampNs(max(ended, int(episode.start_ns))))
    known: dict[str, object] = {
        # What the episode was made with is in the document, else in the file itself.
        **head,
        **before,
        **_events_only(episode),
        "recovered": True,
        "dropped_bytes": repair.torn_bytes,
    }
    text = rosbag_metadata(files.closed_file.name, report, {"recovered": "true"})
    write_text(files.bag_metadata, text)
    if files.open_file.exists():
        files.publish_recording()
    document = episode_document(known, files.closed_file, report, "closed")
    write_json(files.document, document)
    return RecoveredEpisode(files.directory, repair, seconds(ended - int(episode.start_ns)))


def _events_only(episode: Episode) -> dict[str, object]:
    """What the messages tell, without what only the recorder knew."""
    document = episode.document()
    names = (
        "end_ns",
        "duration_s",
        "outcome",
        "outcome_source",
        "outcome_ns",
        "autonomous_success",
        "interventions",
        "policy_lost_the_arm",
        "policies",
        "task",
    )
    return {name: document[name] for name in names}


def _report(path: Path, found: Scan) -> WriterReport:
    messages: dict[RecordedTopic, int] = {}
    for number, count in found.counts.items():
        channel = found.channels[number]
        schema = found.schemas.get(channel.schema_id)
        latched = _LATCHED_QOS in channel.metadata.get("offered_qos_profiles", "")
        topic = RecordedTopic(channel.topic, schema.name if schema else "", latched)
        messages[topic] = messages.get(topic, 0) + count
    filled = [chunk.record for chunk in found.chunks if chunk.counts]
    return WriterReport(
        messages=messages,
        size=path.stat().st_size,
        sha256=file_sha256(path),
        first_ns=min((c.message_start_time for c in filled), default=None),
        last_ns=max((c.message_end_time for c in filled), default=None),
    )


def file_sha256(path: Path) -> str:
    """Hash of a file.

    Raises:
        RecordingError: If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _followed(
    files: EpisodeFiles, before: dict[str, Any], report: WriterReport
) -> tuple[dict[str, Any], Episode]:
    """Metadata of the file, and the episode as its messages tell it."""
    topics = {t.name: name for t in report.messages for name in _FOLLOWED if _is(t.name, name)}
    with files.recording.open("rb") as stream:
        reader = make_reader(stream)
        head = {
            key: _value(text)
            for record in reader.iter_metadata()
            for key, text in record.metadata.items()
            if record.name == "levine" and key != "topics"
        }
        episode = _begun({**head, **before}, report)
        for _, channel, message in reader.iter_messages(topics=list(topics) or [""]):
            name = topics[channel.topic]
            episode = _told(episode, name, StampNs(message.log_time), message.data)
    return head, episode


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is(topic: str, name: str) -> bool:
    return topic.endswith(f"/{name}")


def _begun(known: dict[str, Any], report: WriterReport) -> Episode:
    provenance = Provenance(session="", robot="", robot_sha256="", task=str(known.get("task", "")))
    start = StampNs(int(known.get("start_ns") or report.first_ns or 0))
    # A person's judgement outlives the crash.
    judged: Any = known.get("outcome", "unknown")
    return Episode(
        int(known.get("episode") or 0),
        provenance,
        start,
        outcome=judged,
        outcome_source=str(known.get("outcome_source", "")),
        outcome_ns=known.get("outcome_ns"),
        policies=tuple(known.get("policies", ())),
    )


def _told(episode: Episode, name: str, log_ns: StampNs, data: bytes) -> Episode:
    try:
        if name == "supervisor/mode":
            return episode.entered(read_string(data), log_ns)
        if name == "supervisor/events":
            header, statuses = read_diagnostics(data)
            return episode.explained(mode_changes([(header.stamp_ns, statuses)]))
        if name == "task":
            return episode.instructed(read_string(data))
        return episode.proposed_by(read_header(data).frame_id)
    except CdrError:
        return episode

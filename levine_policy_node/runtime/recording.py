# SPDX-License-Identifier: Apache-2.0
"""The episodes of one session, at most one of them open.

Knows nothing of ROS: it is given serialized messages, modes and times by one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from levine_policy_node.core.episode import Episode, Outcome, Provenance
from levine_policy_node.core.handovers import ModeChange
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_document import episode_document, text_values
from levine_policy_node.runtime.episode_files import (
    EpisodeFiles,
    create_episode,
    free_gigabytes,
    write_json,
    write_text,
)
from levine_policy_node.runtime.mcap_writer import (
    McapWriter,
    RecordedMessage,
    WriterOptions,
    WriterReport,
)
from levine_policy_node.runtime.preroll import Preroll
from levine_policy_node.runtime.rosbag_metadata import rosbag_metadata


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """How a session is recorded.

    Attributes:
        writer: How files are written.
        min_free_gb: No episode starts with less free space [GB].
        reserve_gb: An open episode is closed when free space falls below this [GB].
    """

    writer: WriterOptions = field(default_factory=WriterOptions)
    min_free_gb: float = 1.0
    reserve_gb: float = 0.2


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """Counters over the session, and the newest file."""

    episodes: int = 0
    messages: int = 0
    dropped: int = 0
    size: int = 0
    file: str = ""
    lost: int = 0

    def plus(self, writer: McapWriter) -> RecordingStatus:
        """Add the episode that `writer` writes."""
        return replace(
            self,
            episodes=self.episodes + 1,
            messages=self.messages + writer.written,
            dropped=self.dropped + writer.dropped,
            size=self.size + writer.size,
        )


class Recording:
    """Open, fill, judge and close the episodes of a session."""

    def __init__(self, session: Path, options: RecordingOptions | None = None) -> None:
        self._session = session
        self._options = options or RecordingOptions()
        self._latched: dict[str, RecordedMessage] = {}
        self._preroll = Preroll(self._options.writer.queue_bytes // 2)
        self._next_index = 0
        self._writer: McapWriter | None = None
        self._episode: Episode | None = None
        self._files: EpisodeFiles | None = None
        self._report = WriterReport()
        self._error = ""
        self._totals = RecordingStatus()
        self._lost: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether an episode is being recorded."""
        return self._writer is not None

    def start(self, provenance: Provenance, now_ns: StampNs) -> Path:
        """Open the next episode and write into it what came just before it.

        So it does with what latched topics last said.

        Raises:
            RecordingError: If one is open, the disk is too full, or a file cannot be made.
        """
        if self._writer is not None and self._episode is not None:
            raise RecordingError(f"{self._episode.name} is being recorded already. End it first")
        free = free_gigabytes(self._session)
        if free < self._options.min_free_gb:
            raise RecordingError(
                f"{self._session}: {free:.2f} GB free, below min_free_gb "
                f"{self._options.min_free_gb:g}. Free the disk or choose another root"
            )
        episode = Episode(self._next_index, provenance, now_ns)
        self._next_index += 1
        files = create_episode(self._session, episode.name)
        self._episode, self._files = episode, files
        self._report, self._error = WriterReport(), ""
        self._lost.clear()
        self._write_document()
        writer = McapWriter(files.open_file, text_values(episode), self._options.writer)
        for message in self._preroll.take(now_ns):
            writer.put(message)
        for message in self._latched.values():
            # Received before the episode: it counts from now, and keeps the time it was made.
            writer.put(RecordedMessage(message.topic, now_ns, message.publish_ns, message.data))
        self._writer = writer
        return files.open_file

    def put(self, message: RecordedMessage) -> None:
        """Record a message if an episode is open; remember what the next one begins with."""
        if message.topic.latched:
            self._latched[message.topic.name] = message
        elif self._writer is None and message.topic.preroll:
            self._preroll.add(message)
        if self._writer is not None:
            self._writer.put(message)

    def lost(self, topic: str, count: int) -> None:
        """Note that the middleware did not deliver `count` messages of a topic."""
        if self.is_open:
            self._lost[topic] += count
            self._totals = replace(self._totals, lost=self._totals.lost + count)

    def entered(self, mode: str, now_ns: StampNs) -> None:
        """Note a new supervisor mode in the open episode."""
        if self._episode is not None and self.is_open:
            self._episode = self._episode.entered(mode, now_ns)

    def explained(self, changes: Sequence[ModeChange]) -> None:
        """Note in the open episode what the supervisor said of its changes of mode."""
        if self._episode is not None and self.is_open:
            self._episode = self._episode.explained(changes)

    def proposed_by(self, source: str) -> None:
        """Note the source tag of a chunk in the open episode."""
        if self._episode is not None and self.is_open:
            self._episode = self._episode.proposed_by(source)

    def instructed(self, task: str) -> None:
        """Note the language instruction in the open episode."""
        if self._episode is not None and self.is_open:
            self._episode = self._episode.instructed(task)

    def mark(self, outcome: Outcome, source: str, now_ns: StampNs, by: str = "") -> str:
        """Judge the open episode, else the last one; returns its name.

        Args:
            outcome: The judgement.
            source: What kind of judge it is.
            now_ns: When.
            by: Pseudonym of the person.

        Raises:
            RecordingError: If there is none, or `episode.json` cannot be written.
        """
        return self._change(self._known_episode().marked(outcome, source, now_ns, by))

    def abort_unjudged(self, reason: str, now_ns: StampNs) -> None:
        """Call the open episode aborted, unless somebody has judged it."""
        if self._episode is not None and self.is_open and self._episode.outcome == "unknown":
            self._episode = self._episode.marked("aborted", reason, now_ns)

    def set_aside(self, by: str = "") -> str:
        """Mark the open episode, else the last one, as not to be used; returns its name.

        Raises:
            RecordingError: If there is none, or `episode.json` cannot be written.
        """
        return self._change(self._known_episode().set_aside(by))

    def end(self, now_ns: StampNs) -> Path:
        """Close the open episode; it is whole and on the disk on return.

        Raises:
            RecordingError: If none is open, or the file could not be finished; what was flushed
                before stays readable as `.mcap.open`. No episode is open afterwards.
        """
        if self._writer is None or self._episode is None or self._files is None:
            raise RecordingError("no episode is being recorded. Start one first")
        writer, self._writer = self._writer, None
        episode = self._episode = self._episode.ended(now_ns)
        report = self._report = writer.close(text_values(episode))
        self._totals = self._totals.plus(writer)
        self._error = writer.failure
        if not self._error:
            self._files.publish_recording()
            text = rosbag_metadata(self._files.closed_file.name, report, text_values(episode))
            write_text(self._files.bag_metadata, text)
        self._write_document()
        if self._error:
            raise RecordingError(f"{episode.name} was cut short: {self._error}")
        return self._files.closed_file

    def problem(self) -> str:
        """Say why the open episode must end now: a failed write, or a full disk; else ""."""
        if self._writer is None:
            return ""
        if self._writer.failure:
            return self._writer.failure
        free = free_gigabytes(self._session)
        if free < self._options.reserve_gb:
            return f"{self._session}: only {free:.2f} GB free (reserve_gb)"
        return ""

    def status(self) -> RecordingStatus:
        """Count over all episodes of the session, the open one included."""
        counted = self._totals if self._writer is None else self._totals.plus(self._writer)
        file = str(self._files.recording) if self._files is not None else ""
        return replace(counted, file=file)

    def _known_episode(self) -> Episode:
        if self._episode is None:
            raise RecordingError("no episode has been recorded yet. Start one first")
        return self._episode

    def _change(self, episode: Episode) -> str:
        self._episode = episode
        self._write_document()
        return episode.name

    def _write_document(self) -> None:
        if self._files is None or self._episode is None:
            return
        state = "failed" if self._error else "open" if self._episode.end_ns is None else "closed"
        known = {**self._episode.document(), "lost_in_transport": dict(self._lost)}
        document = episode_document(known, self._files.recording, self._report, state, self._error)
        write_json(self._files.document, document)

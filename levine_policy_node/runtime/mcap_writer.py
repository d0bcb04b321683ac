# SPDX-License-Identifier: Apache-2.0
"""Write messages to one append-only MCAP file from a thread of its own.

The file is only ever appended to: uncompressed chunks with message indexes, each written whole and
`fdatasync`ed at least every `flush_period_s`. After a crash or a power cut everything up to the
last flush is readable: a reader of the stream (`mcap.stream_reader.StreamReader`,
`mcap.reader.NonSeekingReader`) delivers every complete chunk and then fails at the torn end. Tools
that seek the summary at the end of the file open only files that were closed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcap.writer import CompressionType, Writer

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.append_file import AppendFile
from levine_policy_node.runtime.byte_queue import ByteQueue
from levine_policy_node.runtime.image_encoding import jpeg_from_image
from levine_policy_node.runtime.message_definitions import ros2msg_definition, type_hash

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"

# Infinite, in the form every rosbag2 since Foxy reads; integers, which Humble needs.
_FOREVER = "{sec: 9223372036, nsec: 854775807}"
_KEEP_LAST, _RELIABLE, _AUTOMATIC = 1, 1, 1
_TRANSIENT_LOCAL, _VOLATILE = 1, 2


@dataclass(frozen=True, slots=True)
class RecordedTopic:
    """A topic of a recording.

    Attributes:
        name: Absolute topic name.
        type_name: Such as `sensor_msgs/msg/JointState`.
        latched: Whether late subscribers get the last message (transient local).
        bulky: Dropped first under overload.
        preroll: Whether an episode has what came just before it, too.
    """

    name: str
    type_name: str
    latched: bool = False
    bulky: bool = False
    preroll: bool = False

    def offered_qos(self) -> str:
        """The profile a player should publish with, in rosbag2's YAML (version 8)."""
        durability = _TRANSIENT_LOCAL if self.latched else _VOLATILE
        return (
            f"- history: {_KEEP_LAST}\n  depth: {1 if self.latched else 10}\n"
            f"  reliability: {_RELIABLE}\n  durability: {durability}\n"
            f"  deadline: {_FOREVER}\n  lifespan: {_FOREVER}\n  liveliness: {_AUTOMATIC}\n"
            f"  liveliness_lease_duration: {_FOREVER}\n"
            "  avoid_ros_namespace_conventions: false"
        )


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """One serialized message: when it was received and when it says it was made [ns]."""

    topic: RecordedTopic
    log_ns: int
    publish_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """How a file is written.

    Attributes:
        queue_bytes: Bound of the memory between the node and the disk.
        flush_period_s: Longest time between two flushes to the disk [s].
        jpeg_quality: Quality raw images are compressed with; None keeps them raw.
    """

    queue_bytes: int = 64 << 20
    flush_period_s: float = 0.08
    jpeg_quality: int | None = 95


@dataclass(frozen=True, slots=True)
class WriterReport:
    """What a finished file holds.

    Attributes:
        messages: Number of messages per topic.
        dropped: Number of refused messages per topic.
        size: Bytes of the file.
        sha256: Hash of the file.
        first_ns: Earliest receive time, None without messages.
        last_ns: Latest receive time, None without messages.
    """

    messages: Mapping[RecordedTopic, int] = field(default_factory=dict[RecordedTopic, int])
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    size: int = 0
    sha256: str = ""
    first_ns: int | None = None
    last_ns: int | None = None


class McapWriter:
    """One MCAP file and the thread that writes it.

    `put` never blocks: what does not fit into the queue is dropped and counted. A disk error ends
    the writing, not the process: `failure` then says what happened.
    """

    def __init__(
        self, path: Path, metadata: Mapping[str, str], options: WriterOptions | None = None
    ) -> None:
        """Create the file and start writing.

        Args:
            path: A file that does not exist yet.
            metadata: Written at the head of the file, as the Metadata record `levine`.
            options: How to write.

        Raises:
            RecordingError: If the file cannot be created.
        """
        self.path = path
        self._options = options or WriterOptions()
        self._queue: ByteQueue[RecordedMessage] = ByteQueue(self._options.queue_bytes)
        self._dropped: Counter[str] = Counter()
        self._messages: Counter[RecordedTopic] = Counter()
        self._channels: dict[RecordedTopic, int] = {}
        self._schemas: dict[str, int] = {}
        self._span: tuple[int, int] | None = None
        self._last_metadata: Mapping[str, str] = {}
        self._written = 0
        self._failure = ""
        try:
            self._file = AppendFile(path)
            self._writer = self._begun(metadata)
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written ({error.strerror})") from error
        self._thread = threading.Thread(target=self._run, name="mcap_writer", daemon=True)
        self._thread.start()

    def _begun(self, metadata: Mapping[str, str]) -> Writer:
        writer = Writer(self._file, compression=CompressionType.NONE)  # type: ignore[arg-type]
        try:
            writer.start(profile="ros2", library="levine_policy_node")
            writer.add_metadata("levine", dict(metadata))
            self._file.sync()
        except OSError:
            self._file.close()
            raise
        return writer

    def put(self, message: RecordedMessage) -> bool:
        """Queue a message; False if it was dropped (and counted)."""
        bulky = message.topic.bulky
        kept = not self._failure and self._queue.put(message, len(message.data), bulky=bulky)
        if not kept:
            self._dropped[message.topic.name] += 1
        return kept

    @property
    def failure(self) -> str:
        """Why writing ended early, or ""."""
        return self._failure

    @property
    def written(self) -> int:
        """Messages in the file so far."""
        return self._written

    @property
    def dropped(self) -> int:
        """Messages refused so far."""
        return self._dropped.total()

    @property
    def size(self) -> int:
        """Bytes in the file so far."""
        return self._file.tell()

    def close(self, metadata: Mapping[str, str] | None = None) -> WriterReport:
        """Write what is queued, finish the file and return when it is on the disk.

        Args:
            metadata: Written at the end of the file, as the Metadata record `levine.end`.
        """
        self._last_metadata = metadata or {}
        self._queue.close()
        self._thread.join()
        self._file.close()
        first, last = self._span or (None, None)
        digest = "" if self._failure else self._file.sha256()
        return WriterReport(
            dict(self._messages), dict(self._dropped), self._file.tell(), digest, first, last
        )

    def _run(self) -> None:
        finished = False
        try:
            while not self._queue.finished:
                self._write_batch()
            if self._last_metadata:
                self._writer.add_metadata("levine.end", dict(self._last_metadata))
            self._writer.finish()
            self._file.settle()
            finished = True
        except OSError as error:
            self._fail(f"{self.path}: {error.strerror}")
        except RecordingError as error:
            self._fail(str(error))
        finally:
            if not finished and not self._failure:
                self._fail(
                    f"{self.path}: the writer thread ended by a bug; its traceback is above"
                )

    def _write_batch(self) -> None:
        due = time.monotonic() + self._options.flush_period_s
        for message in self._queue.take_all(self._options.flush_period_s):
            self._write(message)
            if time.monotonic() >= due:
                self._flush()
                due = time.monotonic() + self._options.flush_period_s
        self._flush()

    def _flush(self) -> None:
        self._writer.flush()
        self._file.sync()

    def _write(self, message: RecordedMessage) -> None:
        topic, data = message.topic, message.data
        if topic.type_name == IMAGE and self._options.jpeg_quality is not None:
            encoded = jpeg_from_image(data, self._options.jpeg_quality)
            if encoded is not None:
                name = f"{topic.name}/compressed"
                topic, data = (
                    RecordedTopic(name, COMPRESSED_IMAGE, topic.latched, bulky=True),
                    encoded,
                )
        channel = self._channel(topic)
        self._messages[topic] += 1
        self._written += 1
        self._writer.add_message(
            channel, message.log_ns, data, message.publish_ns, self._messages[topic]
        )
        first, last = self._span or (message.log_ns, message.log_ns)
        self._span = min(first, message.log_ns), max(last, message.log_ns)

    def _channel(self, topic: RecordedTopic) -> int:
        if topic in self._channels:
            return self._channels[topic]
        kind = topic.type_name
        if kind not in self._schemas:
            definition = ros2msg_definition(kind).encode()
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", definition)
        metadata = {"offered_qos_profiles": topic.offered_qos()}
        if type_hash(kind):
            metadata["topic_type_hash"] = type_hash(kind)
        channel = self._writer.register_channel(topic.name, "cdr", self._schemas[kind], metadata)
        self._channels[topic] = channel
        return channel

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._queue.close()
        # The disk may refuse this too; the file then ends in a torn chunk, which readers report.
        with contextlib.suppress(OSError):
            self._file.cut_torn_end()

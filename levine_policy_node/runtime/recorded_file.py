# SPDX-License-Identifier: Apache-2.0
"""The messages of a closed MCAP by topic, checked against its checksums; images stay on the disk.

An episode with images may be larger than memory, so of these only the place is kept.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, Footer, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.mcap_writer import COMPRESSED_IMAGE, IMAGE

_TORN = (McapError, EOFError, ValueError, KeyError, struct.error)
_KEPT_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One serialized message: when it was received and when it says it was made [ns]."""

    log_ns: int
    publish_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MessagePlace:
    """Where a message that is left on the disk lies.

    Attributes:
        log_ns: When it was received [ns].
        publish_ns: When it says it was made [ns].
        offset: Where its chunk begins in the file.
        index: Its place among the messages of the chunk.
    """

    log_ns: int
    publish_ns: int
    offset: int
    index: int


@dataclass(slots=True)
class RecordedFile:
    """What is in a file.

    Attributes:
        path: The file.
        metadata: Metadata records by name.
        types: Message type by topic, for every topic with a channel.
        messages: Messages of every topic but images, in the order of the file.
        places: Where the images are, likewise.
        span_ns: When the first and the last message were received, None without any.
    """

    path: Path
    metadata: dict[str, dict[str, str]] = field(default_factory=dict[str, "dict[str, str]"])
    types: dict[str, str] = field(default_factory=dict[str, str])
    messages: dict[str, list[RawMessage]] = field(default_factory=dict[str, "list[RawMessage]"])
    places: dict[str, list[MessagePlace]] = field(default_factory=dict[str, "list[MessagePlace]"])
    span_ns: tuple[int, int] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was found."""
        return not self.metadata and not self.types


class Chunks:
    """Fetches messages that were left on the disk, and keeps the newest few chunks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: OrderedDict[int, list[bytes]] = OrderedDict()

    def data(self, place: MessagePlace) -> bytes:
        """The serialized message.

        Raises:
            RecordingError: If the file has changed since it was read.
        """
        if place.offset not in self._kept:
            self._kept[place.offset] = self._read(place.offset)
            if len(self._kept) > _KEPT_CHUNKS:
                self._kept.popitem(last=False)
        try:
            return self._kept[place.offset][place.index]
        except IndexError as error:
            raise RecordingError(f"{self._path}: has changed while it was read") from error

    def _read(self, offset: int) -> list[bytes]:
        try:
            with self._path.open("rb") as stream:
                stream.seek(offset)
                reader = StreamReader(stream, skip_magic=True, emit_chunks=True)
                return [message.data for message in _messages(next(iter(reader.records)))]
        except OSError as error:
            raise RecordingError(f"{self._path}: cannot be read ({error.strerror})") from error
        except (*_TORN, StopIteration) as error:
            raise RecordingError(f"{self._path}: has changed while it was read") from error


def read_file(path: Path) -> RecordedFile:
    """Read a closed MCAP and check its checksums.

    Raises:
        RecordingError: If there is no such file, it is no MCAP, or it is damaged or not closed.
    """
    found = RecordedFile(path)
    try:
        with path.open("rb") as stream:
            _Scan(found).take(stream, path.stat().st_size)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error
    except _TORN as error:
        if found.is_empty:
            raise RecordingError(
                f"{path}: not an MCAP ({type(error).__name__}: {error}). Give an episode's .mcap"
            ) from error
        raise RecordingError(
            f"{path}: was not closed, or is damaged, after {_count(found)} messages "
            f"({type(error).__name__}: {error}). Repair it with: levine record recover {path}"
        ) from error
    return found


class _Scan:
    """Sorts the records of a file."""

    def __init__(self, found: RecordedFile) -> None:
        self._found = found
        self._schemas: dict[int, str] = {}
        self._topics: dict[int, str] = {}

    def take(self, stream: BinaryIO, size: int) -> None:
        """Read from the beginning to the footer."""
        reader = StreamReader(
            stream, emit_chunks=True, validate_crcs=True, record_size_limit=max(size, 1)
        )
        offset = len(b"\x89MCAP0\r\n")
        for record in reader.records:
            if isinstance(record, Metadata):
                self._found.metadata[record.name] = record.metadata
            elif not isinstance(record, Footer):
                self._sort(record, offset)
            offset = stream.tell()

    def _sort(self, record: McapRecord, offset: int) -> None:
        parts = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
        index = 0
        for part in parts:
            if isinstance(part, Schema):
                self._schemas[part.id] = part.name
            elif isinstance(part, Channel):
                self._topics[part.id] = part.topic
                self._found.types[part.topic] = self._schemas.get(part.schema_id, "")
            elif isinstance(part, Message):
                self._add(part, offset, index)
                index += 1

    def _add(self, message: Message, offset: int, index: int) -> None:
        found, topic = self._found, self._topics[message.channel_id]
        log_ns, publish_ns = message.log_time, message.publish_time
        if found.types[topic] in (IMAGE, COMPRESSED_IMAGE):
            place = MessagePlace(log_ns, publish_ns, offset, index)
            found.places.setdefault(topic, []).append(place)
        else:
            raw = RawMessage(log_ns, publish_ns, message.data)
            found.messages.setdefault(topic, []).append(raw)
        first, last = found.span_ns or (log_ns, log_ns)
        found.span_ns = min(first, log_ns), max(last, log_ns)


def _messages(record: McapRecord) -> list[Message]:
    parts = breakup_chunk(record) if isinstance(record, Chunk) else [record]
    return [part for part in parts if isinstance(part, Message)]


def _count(found: RecordedFile) -> int:
    everything = (*found.messages.values(), *found.places.values())
    return sum(len(messages) for messages in everything)

# SPDX-License-Identifier: Apache-2.0
"""Find out how far an MCAP file is whole, from its beginning and without its summary.

A file that was never closed is a header and then records, each with an opcode and a length; what
was being written when the power went is torn, or zeros, and lies at the end. Format:
mcap.dev/spec. Records are framed by hand here, since readers give up at the first damage.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from typing import TypeAlias

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    Attachment,
    AttachmentIndex,
    Channel,
    Chunk,
    ChunkIndex,
    Footer,
    Header,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
)
from mcap.stream_reader import breakup_chunk, get_chunk_data_stream

MAGIC = b"\x89MCAP0\r\n"
PRIVATE = 0x80
"""Opcodes from here on are private; readers skip such records."""

_HEAD = struct.Struct("<BQ")
# A file whose header is torn is hardly longer.
_BEGINNING = 4096
_FOOTER_SIZE = _HEAD.size + 20
_KEPT_AS_THEY_ARE = frozenset({Opcode.HEADER, Opcode.SCHEMA, Opcode.CHANNEL})
UNREADABLE = (McapError, EOFError, ValueError, KeyError, struct.error)
"""What reading a damaged record raises."""

_Record: TypeAlias = "tuple[int, memoryview, int]"


@dataclass(slots=True)
class ScannedChunk:
    """One chunk that is whole.

    Attributes:
        offset: Where it begins in the file.
        end: Where it ends; its message indexes follow.
        record: Itself, without its data.
        compressed_size: Bytes of its data.
        counts: Number of messages by channel.
        indexes: Where the message index of each channel begins, as far as there is one.
        indexes_end: Where the last of these ends.
    """

    offset: int
    end: int
    record: Chunk
    compressed_size: int
    counts: Counter[int]
    indexes: dict[int, int]
    indexes_end: int

    @property
    def indexed(self) -> bool:
        """Whether every channel with messages has its index."""
        return self.indexes.keys() >= self.counts.keys()

    def index_record(self) -> ChunkIndex:
        """What the summary says of it."""
        return ChunkIndex(
            chunk_length=self.end - self.offset,
            chunk_start_offset=self.offset,
            compression=self.record.compression,
            compressed_size=self.compressed_size,
            message_end_time=self.record.message_end_time,
            message_index_length=self.indexes_end - self.end,
            message_index_offsets=dict(self.indexes),
            message_start_time=self.record.message_start_time,
            uncompressed_size=self.record.uncompressed_size,
        )


@dataclass(slots=True)
class Scan:
    """What is whole in a file.

    Attributes:
        schemas: By id.
        channels: By id.
        chunks: Those that are whole, in order.
        metadata: Where Metadata records are.
        attachments: Where attachments are.
        whole: Where what is whole ends.
        damaged: Where records before that begin whose contents are not what they should be.
        finished: Whether the file is closed and nothing in it is damaged.
    """

    schemas: dict[int, Schema] = field(default_factory=dict[int, Schema])
    channels: dict[int, Channel] = field(default_factory=dict[int, Channel])
    chunks: list[ScannedChunk] = field(default_factory=list[ScannedChunk])
    metadata: list[MetadataIndex] = field(default_factory=list[MetadataIndex])
    attachments: list[AttachmentIndex] = field(default_factory=list[AttachmentIndex])
    whole: int = 0
    damaged: list[int] = field(default_factory=list[int])
    finished: bool = False

    @property
    def counts(self) -> Counter[int]:
        """Number of messages by channel."""
        found: Counter[int] = Counter()
        for chunk in self.chunks:
            found.update(chunk.counts)
        return found


def scan(data: memoryview) -> Scan:
    """Scan a whole file.

    Raises:
        ValueError: If it is not an MCAP file.
    """
    found = Scan()
    begin = bytes(data[: len(MAGIC)])
    if begin != MAGIC:
        # A file that was created and never written to is empty, or zeros.
        if not MAGIC.startswith(begin.rstrip(b"\x00")):
            raise ValueError("it does not begin as an MCAP file does")
        return found
    at = len(MAGIC)
    if not _begins(data, at):
        if bytes(data[_BEGINNING:]).strip(b"\x00"):
            raise ValueError("its header is damaged")
        return found
    while (record := _record(data, at)) is not None and record[0] != Opcode.DATA_END:
        if record[0] < PRIVATE:
            try:
                _take(found, record, at)
                found.whole = record[2]
            except _UnknownRecordError:
                break
            except UNREADABLE:
                found.damaged.append(at)
        at = record[2]
    last = found.chunks[-1] if found.chunks else None
    if last is not None and not last.indexed and found.whole == last.indexes_end:
        # They are made anew.
        found.whole = last.indexes_end = last.end
        last.indexes.clear()
    ends = record is not None and record[0] == Opcode.DATA_END and _closed(data, record[2])
    found.finished = ends and not found.damaged and all(c.indexed for c in found.chunks)
    found.damaged = [offset for offset in found.damaged if offset < found.whole]
    return found


def index_rows(data: memoryview, chunk: ScannedChunk) -> list[MessageIndex]:
    """Make the message indexes of a chunk: log time [ns] and place of each message."""
    content = data[chunk.offset + _HEAD.size : chunk.end]
    stream, size = get_chunk_data_stream(Chunk.read(_stream(content)))
    plain = memoryview(stream.read(size))
    rows: dict[int, MessageIndex] = {}
    at = 0
    while (record := _record(plain, at)) is not None:
        opcode, body, end = record
        if opcode == Opcode.MESSAGE:
            message = Message.read(_stream(body), len(body))
            index = rows.setdefault(message.channel_id, MessageIndex(message.channel_id, []))
            index.records.append((message.log_time, at))
        at = end
    return list(rows.values())


class _UnknownRecordError(Exception):
    """What is here belongs into no data section: the end is torn."""


def _stream(content: memoryview) -> ReadDataStream:
    return ReadDataStream(BytesIO(content))


def _record(data: memoryview, at: int) -> _Record | None:
    """Opcode, content and end of the record at `at`; None if it is not all there."""
    if at + _HEAD.size > len(data):
        return None
    opcode, length = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if opcode == 0 or end > len(data):
        return None
    return opcode, data[at + _HEAD.size : end], end


def _begins(data: memoryview, at: int) -> bool:
    """Whether there is a header here, and nothing else in its record."""
    record = _record(data, at)
    if record is None or record[0] != Opcode.HEADER:
        return False
    try:
        stream = _stream(record[1])
        Header.read(stream)
    except UNREADABLE:
        return False
    return stream.count == len(record[1])


def _take(found: Scan, record: _Record, at: int) -> None:
    """Take in one record.

    Raises:
        _UnknownRecordError: If there can be no such record here.
        ValueError: If its contents are damaged, among others of `UNREADABLE`.
    """
    opcode, content, end = record
    if opcode == Opcode.CHUNK:
        _take_chunk(found, content, at, end)
    elif opcode == Opcode.MESSAGE_INDEX:
        _take_index(found, content, at, end)
    elif opcode == Opcode.METADATA:
        name = Metadata.read(_stream(content)).name
        found.metadata.append(MetadataIndex(length=end - at, name=name, offset=at))
    elif opcode == Opcode.ATTACHMENT:
        made = Attachment.read(_stream(content))
        index = AttachmentIndex(
            offset=at,
            length=end - at,
            log_time=made.log_time,
            create_time=made.create_time,
            data_size=len(made.data),
            name=made.name,
            media_type=made.media_type,
        )
        found.attachments.append(index)
    elif opcode not in _KEPT_AS_THEY_ARE:
        raise _UnknownRecordError
    elif opcode != Opcode.HEADER:
        _define(found, [_definition(opcode, content)])


def _definition(opcode: int, content: memoryview) -> Schema | Channel:
    kind = Schema if opcode == Opcode.SCHEMA else Channel
    return kind.read(_stream(content))


def _take_chunk(found: Scan, content: memoryview, at: int, end: int) -> None:
    chunk = Chunk.read(_stream(content))
    if len(chunk.data) + 40 + len(chunk.compression) != len(content):
        raise ValueError("the chunk's data is cut short")
    records = breakup_chunk(chunk, validate_crc=True)
    counts = Counter(record.channel_id for record in records if isinstance(record, Message))
    defined = [record for record in records if isinstance(record, (Schema, Channel))]
    known = found.channels.keys() | {d.id for d in defined if isinstance(d, Channel)}
    if counts.keys() - known:
        raise ValueError("the chunk has messages of unknown channels")
    _define(found, defined)
    size, chunk.data = len(chunk.data), b""
    found.chunks.append(ScannedChunk(at, end, chunk, size, counts, {}, end))


def _define(found: Scan, records: list[Schema | Channel]) -> None:
    for record in records:
        if isinstance(record, Schema):
            found.schemas[record.id] = record
        else:
            found.channels[record.id] = record


def _take_index(found: Scan, content: memoryview, at: int, end: int) -> None:
    index = MessageIndex.read(_stream(content))
    chunk = found.chunks[-1] if found.chunks else None
    if chunk is None or chunk.counts[index.channel_id] != len(index.records):
        raise ValueError("the index is not of the chunk before it")
    chunk.indexes[index.channel_id] = at
    chunk.indexes_end = end


def _closed(data: memoryview, summary_start: int) -> bool:
    """Whether a summary begins here and ends, whole, with the file."""
    footer_start = len(data) - len(MAGIC) - _FOOTER_SIZE
    if footer_start < summary_start or bytes(data[-len(MAGIC) :]) != MAGIC:
        return False
    record = _record(data, footer_start)
    if record is None or record[0] != Opcode.FOOTER:
        return False
    footer = Footer.read(_stream(record[1]))
    if footer.summary_start not in (0, summary_start):
        return False
    checked = data[summary_start : footer_start + _FOOTER_SIZE - 4]
    return footer.summary_crc in (0, zlib.crc32(checked))

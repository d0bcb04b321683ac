# SPDX-License-Identifier: Apache-2.0
"""Repair in place an MCAP file that was never closed.

What is whole stays where it is; what is torn at the end is put into a file of its own beside it,
cut off, and replaced by what closes a file: indexes, summary and footer. Being killed at any
moment of that costs nothing, since doing it again finds the same whole part. A chunk that is
damaged in the middle is hidden from readers by one bit of its opcode, and stays.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import DataEnd, Footer, Header, McapRecord, Statistics, SummaryOffset

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_files import sync_directory
from levine_policy_node.runtime.mcap_scan import MAGIC, PRIVATE, Scan, index_rows, scan


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of a file.

    Attributes:
        scan: What the file holds.
        changed: Whether there was anything to repair.
        torn_bytes: Bytes that were cut off its end, but for zeros.
        hidden: Damaged records in the middle that are skipped now.
        torn_file: Where what was cut off is, None if nothing was.
    """

    scan: Scan
    changed: bool = False
    torn_bytes: int = 0
    hidden: int = 0
    torn_file: Path | None = None

    @property
    def messages(self) -> int:
        """Messages in it now."""
        return self.scan.counts.total()


def repair_mcap(path: Path) -> Repair:
    """Make a file whole again; one that is whole already is left as it is.

    Raises:
        RecordingError: If it is no MCAP file, or cannot be read or written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return _repair(path, descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RecordingError(
            f"{path}: cannot be repaired ({error.strerror}). What it holds is unchanged; free the "
            "disk or make it writable, then try again"
        ) from error


def _repair(path: Path, descriptor: int) -> Repair:
    size = os.fstat(descriptor).st_size
    # An empty file cannot be mapped.
    mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if size else b""
    with memoryview(mapped) as data:
        try:
            found = scan(data)
        except ValueError as error:
            raise RecordingError(f"{path}: not an MCAP file: {error}") from error
        if found.finished:
            return Repair(scan=found)
        end = closing(found, data)
        rest = bytes(data[found.whole :]).rstrip(b"\x00")
        opcodes = [data[offset] for offset in found.damaged]
    if isinstance(mapped, mmap.mmap):
        mapped.close()
    # The beginning of this very end is what a repair that was killed has left.
    torn = b"" if end.startswith(rest) else rest
    torn_file = _keep(path, found.whole, torn) if torn else None
    for offset, opcode in zip(found.damaged, opcodes, strict=True):
        os.pwrite(descriptor, bytes([opcode | PRIVATE]), offset)
    os.ftruncate(descriptor, found.whole)
    _write_all(descriptor, end, found.whole)
    os.fsync(descriptor)
    return Repair(
        found,
        changed=True,
        torn_bytes=len(torn),
        hidden=len(found.damaged),
        torn_file=torn_file,
    )


def _keep(path: Path, offset: int, torn: bytes) -> Path:
    """Put what is to be cut off into a file beside; one that is there is from the same repair."""
    kept = path.with_name(f"{path.name}.torn-{offset}")
    if kept.exists():
        return kept
    temporary = kept.with_name(f".{kept.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(torn)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(kept)
    sync_directory(kept.parent)
    return kept


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def closing(found: Scan, data: memoryview) -> bytes:
    """Everything from `found.whole` on that a closed file has; completes `found`."""
    builder = RecordBuilder()
    if found.whole == 0:
        Header("ros2", "levine_policy_node").write(builder)
    start = found.whole or len(MAGIC)
    last = found.chunks[-1] if found.chunks else None
    if last is not None and not last.indexed and found.whole == last.end:
        for index in index_rows(data, last):
            last.indexes[index.channel_id] = start + builder.count
            index.write(builder)
        last.indexes_end = start + builder.count
    DataEnd(0).write(builder)
    summary_start = start + builder.count
    before = builder.end()
    summary, offsets_start = _summary(found, summary_start)
    footer = RecordBuilder()
    Footer(summary_offset_start=offsets_start, summary_start=summary_start, summary_crc=0).write(
        footer
    )
    unsigned = footer.end()[:-4]
    checksum = zlib.crc32(unsigned, zlib.crc32(summary)).to_bytes(4, "little")
    magic = MAGIC if found.whole == 0 else b""
    return b"".join((magic, before, summary, unsigned, checksum, MAGIC))


def _summary(found: Scan, start: int) -> tuple[bytes, int]:
    """The summary section, and where its offsets begin in the file."""
    groups: list[tuple[Opcode, Iterable[McapRecord]]] = [
        (Opcode.SCHEMA, found.schemas.values()),
        (Opcode.CHANNEL, found.channels.values()),
        (Opcode.STATISTICS, [_statistics(found)]),
        (Opcode.CHUNK_INDEX, [chunk.index_record() for chunk in found.chunks]),
        (Opcode.ATTACHMENT_INDEX, found.attachments),
        (Opcode.METADATA_INDEX, found.metadata),
    ]
    builder = RecordBuilder()
    offsets: list[SummaryOffset] = []
    for opcode, records in groups:
        begin = builder.count
        for record in records:
            record.write(builder)
        if builder.count > begin:
            length = builder.count - begin
            offset = SummaryOffset(
                group_opcode=opcode, group_start=start + begin, group_length=length
            )
            offsets.append(offset)
    offsets_start = start + builder.count
    for offset in offsets:
        offset.write(builder)
    return builder.end(), offsets_start


def _statistics(found: Scan) -> Statistics:
    filled = [chunk.record for chunk in found.chunks if chunk.counts]
    return Statistics(
        attachment_count=len(found.attachments),
        channel_count=len(found.channels),
        channel_message_counts=dict(found.counts),
        chunk_count=len(found.chunks),
        message_count=found.counts.total(),
        message_end_time=max((c.message_end_time for c in filled), default=0),
        message_start_time=min((c.message_start_time for c in filled), default=0),
        metadata_count=len(found.metadata),
        schema_count=len(found.schemas),
    )

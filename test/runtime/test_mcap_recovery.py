# SPDX-License-Identifier: Apache-2.0
"""What a crash leaves is repaired, read back by readers that know nothing of the repair."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import Reader

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.mcap_recovery import repair_mcap
from levine_policy_node.runtime.mcap_scan import MAGIC, scan
from levine_policy_node.runtime.message_definitions import ros2msg_definition

STRING = "std_msgs/msg/String"
CHUNKS = 12


def cdr(number: int) -> bytes:
    text = f"{number:06d}".encode() + b"\x00"
    return b"\x00\x01\x00\x00" + len(text).to_bytes(4, "little") + text


@cache
def recording() -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """A closed file as the recorder writes it, and (messages, bytes) after each chunk."""
    stream = BytesIO()
    writer = Writer(stream, compression=CompressionType.NONE)
    writer.start(profile="ros2", library="levine_policy_node")
    writer.add_metadata("levine", {"session": "s"})
    definition = ros2msg_definition(STRING).encode()
    schema = writer.register_schema(STRING, "ros2msg", definition)
    quality = {"offered_qos_profiles": ""}
    first = writer.register_channel("/a", "cdr", schema, quality)
    second, number, ends = 0, 0, []
    for chunk in range(CHUNKS):
        if chunk == 4:
            second = writer.register_channel("/b", "cdr", schema, quality)
        for i in range(5):
            channel = second if second and i % 2 else first
            writer.add_message(channel, number * 10, cdr(number), number * 10 + 1, number)
            number += 1
        writer.flush()
        ends.append((number, stream.tell()))
    writer.finish()
    return stream.getvalue(), tuple(ends)


def read_by_others(path: Path) -> list[int]:
    """Numbers in the file, by three independent ways that agree."""
    with path.open("rb") as stream:
        sought = SeekingReader(stream, validate_crcs=True)
        summary = sought.get_summary()
        found = [int(m.data[8:14]) for _, _, m in sought.iter_messages()]
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(found)
    with path.open("rb") as stream:
        streamed = NonSeekingReader(stream, validate_crcs=True).iter_messages()
        assert [int(m.data[8:14]) for _, _, m in streamed] == found
    closed = path.with_name("bag.mcap")
    shutil.copy(path, closed)
    if found:  # rosbags wants at least one topic
        with Reader(closed) as bag:
            assert [int(bytes(data)[8:14]) for _, _, data in bag.messages()] == found
    closed.unlink()
    return found


def repaired(content: bytes) -> tuple[bytes, list[int]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ep.mcap.open"
        path.write_bytes(content)
        repair = repair_mcap(path)
        found = read_by_others(path)
        assert repair.messages == len(found)
        once = path.read_bytes()
        assert not repair_mcap(path).changed
        assert path.read_bytes() == once
        if repair.torn_file is not None:
            assert content.rstrip(b"\x00").endswith(repair.torn_file.read_bytes())
        return once, found


def complete(cut: int) -> int:
    """Messages in chunks that end before `cut`."""
    return max((count for count, end in recording()[1] if end <= cut), default=0)


cuts = st.integers(0, len(recording()[0]))


@settings(max_examples=50)
@given(cuts, st.integers(0, 9000))
def test_a_torn_end_costs_no_whole_chunk(cut, zeros):
    whole, _ = recording()
    _, found = repaired(whole[:cut] + bytes(zeros))
    assert found == list(range(len(found)))
    assert len(found) >= complete(cut)


@settings(max_examples=25)
@given(st.integers(0, len(recording()[0]) - 1), st.integers(0, 10**6))
def test_being_killed_in_a_repair_costs_nothing(cut, killed_at):
    """A repair cuts, then appends: whatever it has appended, the next one ends the same."""
    whole, _ = recording()
    once, found = repaired(whole[:cut])
    with memoryview(whole[:cut]) as view:
        kept = scan(view).whole
    killed_at = kept + killed_at % (len(once) - kept + 1)
    again, found_again = repaired(once[:killed_at])
    assert (again, found_again) == (once, found)


@settings(max_examples=25)
@given(st.integers(0, CHUNKS - 1), st.data())
def test_damage_in_the_middle_costs_its_chunk_alone(chunk, data):
    whole, ends = recording()
    begin, end = (ends[chunk - 1][1] if chunk else 200), ends[chunk][1]
    # Where a record is framed is another matter: what follows cannot be found.
    at = data.draw(st.integers(begin + 60, end - 150))
    torn = bytearray(whole[: ends[-1][1]])
    torn[at] ^= 0x41
    _, found = repaired(bytes(torn))
    lost = set(range(5 * CHUNKS)) - set(found)
    if chunk not in (0, 4):  # these define the topics
        assert lost <= set(range(5 * chunk, 5 * chunk + 5))


@given(st.binary(max_size=300), st.integers(len(MAGIC), len(recording()[0])))
@settings(max_examples=25)
def test_garbage_at_the_end_is_never_believed(garbage, cut):
    whole, _ = recording()
    _, found = repaired(whole[:cut] + garbage)
    assert found == list(range(len(found)))
    assert len(found) >= complete(cut)


def test_a_closed_file_is_left_alone(tmp_path):
    path = tmp_path / "a.mcap"
    path.write_bytes(recording()[0])
    before = path.stat()
    repair = repair_mcap(path)
    assert (repair.changed, repair.messages) == (False, 5 * CHUNKS)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_what_is_cut_off_is_kept(tmp_path):
    whole, ends = recording()
    path = tmp_path / "ep.mcap.open"
    path.write_bytes(whole[: ends[5][1] + 40])
    repair = repair_mcap(path)
    torn = whole[ends[5][1] :][:40].rstrip(b"\x00")
    assert repair.torn_bytes == len(torn)
    assert repair.torn_file is not None
    assert repair.torn_file.name == f"ep.mcap.open.torn-{ends[5][1]}"
    assert repair.torn_file.read_bytes() == torn


def test_torn_indexes_are_made_again(tmp_path):
    whole, ends = recording()
    path = tmp_path / "ep.mcap.open"
    path.write_bytes(whole[: ends[5][1] - 1])
    repair_mcap(path)
    assert len(read_by_others(path)) == ends[5][0]


@pytest.mark.parametrize("size", [0, 3, len(MAGIC), 20])
def test_a_file_that_was_only_created_becomes_an_empty_one(tmp_path, size):
    path = tmp_path / "ep.mcap.open"
    path.write_bytes((MAGIC + bytes(30))[:size])
    assert repair_mcap(path).messages == 0
    assert read_by_others(path) == []


def test_what_is_no_mcap_is_not_touched(tmp_path):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 not yours")
    with pytest.raises(RecordingError, match=r"holiday\.jpg: not an MCAP file"):
        repair_mcap(path)
    assert path.read_bytes() == b"\xff\xd8\xff\xe0 not yours"

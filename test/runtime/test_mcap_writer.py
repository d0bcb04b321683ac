# SPDX-License-Identifier: Apache-2.0
"""Recordings are read back by libraries that know nothing of our writer."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, SeekingReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.byte_queue import ByteQueue
from levine_policy_node.runtime.mcap_writer import (
    McapWriter,
    RecordedMessage,
    RecordedTopic,
    WriterOptions,
)
from levine_policy_node.runtime.message_definitions import ros2msg_definition, type_hash

STORE = get_typestore(Stores.ROS2_KILTED)
STATES = RecordedTopic("/joint_states", "sensor_msgs/msg/JointState")
CAMERA = RecordedTopic("/camera/front/image", "sensor_msgs/msg/Image", bulky=True)
TASK = RecordedTopic("/task", "std_msgs/msg/String", latched=True)
TYPES = (
    "sensor_msgs/msg/JointState",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "trajectory_msgs/msg/JointTrajectory",
    "std_msgs/msg/String",
    "std_msgs/msg/Bool",
    "diagnostic_msgs/msg/DiagnosticArray",
)


def header(stamp_s=0, frame_id=""):
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_s, nanosec=0)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def joint_state(value: float) -> bytes:
    kind = STORE.types["sensor_msgs/msg/JointState"]
    message = kind(header(), ["pan"], np.array([value]), np.array([]), np.array([]))
    return bytes(STORE.serialize_cdr(message, STATES.type_name))


def image(pixels: np.ndarray, encoding="rgb8", frame_id="front") -> bytes:
    kind = STORE.types["sensor_msgs/msg/Image"]
    height, width = pixels.shape[:2]
    step = pixels.size // height * pixels.itemsize
    flat = np.frombuffer(pixels.tobytes(), np.uint8)
    message = kind(header(7, frame_id), height, width, encoding, 0, step, flat)
    return bytes(STORE.serialize_cdr(message, CAMERA.type_name))


def text(value: str) -> bytes:
    kind = STORE.types["std_msgs/msg/String"]
    return bytes(STORE.serialize_cdr(kind(value), TASK.type_name))


def message(topic: RecordedTopic, data: bytes, stamp_ns: int = 1) -> RecordedMessage:
    return RecordedMessage(topic, stamp_ns, stamp_ns + 5, data)


def read_back(path: Path) -> list[tuple[str, str, int, int, bytes]]:
    with path.open("rb") as stream:
        reader = SeekingReader(stream, validate_crcs=True)
        return [
            (channel.topic, schema.name, record.log_time, record.publish_time, record.data)
            for schema, channel, record in reader.iter_messages()
        ]


def readable_prefix(path: Path) -> Iterator[bytes]:
    """What an ordinary reader of the stream gets out of a file that was never closed."""
    with path.open("rb") as stream:
        try:
            reader = NonSeekingReader(stream, validate_crcs=True)
            for _, _, record in reader.iter_messages(log_time_order=False):
                yield record.data
        except (McapError, struct.error):  # a record cut short is one or the other
            return


def wait_for(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "still waiting"
        threading.Event().wait(0.005)


def test_what_was_put_is_read_back(tmp_path):
    path = tmp_path / "a.mcap"
    writer = McapWriter(path, {"session": "s"})
    expected = []
    for i in range(500):
        state = joint_state(i / 7)
        assert writer.put(message(STATES, state, 1000 + 2 * i))
        expected.append(("/joint_states", STATES.type_name, 1000 + 2 * i, 1005 + 2 * i, state))
    assert writer.put(message(TASK, text("pick the cube"), 1001))
    report = writer.close({"outcome": "success"})
    expected.append(("/task", TASK.type_name, 1001, 1006, text("pick the cube")))
    assert read_back(path) == sorted(expected, key=lambda row: row[2])
    assert report.messages == {STATES: 500, TASK: 1}
    assert (report.first_ns, report.last_ns, dict(report.dropped)) == (1000, 1998, {})
    assert report.size == path.stat().st_size
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_file_follows_rosbag2(tmp_path):
    path = tmp_path / "a.mcap"
    writer = McapWriter(path, {"session": "s"})
    writer.put(message(STATES, joint_state(1.0)))
    writer.put(message(TASK, text("go")))
    writer.close({"outcome": "failure"})
    with path.open("rb") as stream:
        reader = SeekingReader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        metadata = {record.name: record.metadata for record in reader.iter_metadata()}
    assert summary is not None
    assert {c.compression for c in summary.chunk_indexes} == {""}
    assert all(c.message_index_offsets for c in summary.chunk_indexes)
    assert {s.encoding for s in summary.schemas.values()} == {"ros2msg"}
    for channel in summary.channels.values():
        assert channel.message_encoding == "cdr"
        durability = "durability: 1" if channel.topic == "/task" else "durability: 2"
        assert durability in channel.metadata["offered_qos_profiles"]
    assert metadata == {"levine": {"session": "s"}, "levine.end": {"outcome": "failure"}}


@pytest.mark.parametrize("type_name", TYPES)
def test_definitions_equal_those_of_an_independent_library(type_name):
    if not (Path(sys.prefix) / "share" / "sensor_msgs").is_dir():
        pytest.skip("message packages come from a sourced ROS, maybe of another release")
    theirs, _ = STORE.generate_msgdef(type_name, ros_version=2)
    assert get_types_from_msg(ros2msg_definition(type_name), type_name) == get_types_from_msg(
        theirs, type_name
    )
    assert type_hash(type_name) == STORE.hash_rihs01(type_name)


def test_an_unknown_type_is_one_clear_error():
    with pytest.raises(RecordingError, match="Install the ROS package no_msgs"):
        ros2msg_definition("no_msgs/msg/Thing")


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_images_are_kept_as_jpeg(tmp_path, encoding):
    ramp = np.linspace(0, 255, 64 * 48).reshape(48, 64)
    planes = [ramp, ramp[::-1], np.full_like(ramp, 90)]
    pixels = np.stack(planes, axis=-1).astype(np.uint8)
    sent = {"rgb8": pixels, "bgr8": pixels[:, :, ::-1], "mono8": pixels[:, :, 0]}[encoding]
    path = tmp_path / "a.mcap"
    writer = McapWriter(path, {})
    writer.put(message(CAMERA, image(sent, encoding), 9))
    writer.close()
    [(topic, kind, log_ns, publish_ns, data)] = read_back(path)
    assert (topic, log_ns, publish_ns) == ("/camera/front/image/compressed", 9, 14)
    assert kind == "sensor_msgs/msg/CompressedImage"
    found = STORE.deserialize_cdr(data, kind)
    stored = "" if encoding == "mono8" else "bgr8"
    assert found.format == f"{encoding}; jpeg compressed {stored}"
    assert (found.header.stamp.sec, found.header.frame_id) == (7, "front")
    decoded = cv2.imdecode(found.data, cv2.IMREAD_UNCHANGED)
    expected = pixels[:, :, 0] if encoding == "mono8" else pixels[:, :, ::-1]
    assert np.abs(decoded.astype(int) - expected).mean() < 2.0


def test_images_stay_raw_when_asked_or_when_jpeg_cannot_hold_them(tmp_path):
    depth = image(np.arange(12, dtype=np.uint16).reshape(3, 4), "16UC1")
    damaged = image(np.zeros((4, 4, 3), np.uint8))[:-10]
    colour = image(np.zeros((4, 4, 3), np.uint8))
    for name, data, quality in (
        ("a", depth, 95),
        ("b", damaged, 95),
        ("c", b"", 95),
        ("d", colour, None),
    ):
        writer = McapWriter(tmp_path / name, {}, WriterOptions(jpeg_quality=quality))
        writer.put(message(CAMERA, data))
        writer.close()
        assert [row[0::4] for row in read_back(tmp_path / name)] == [(CAMERA.name, data)]


def test_messages_reach_the_file_while_it_is_open(tmp_path):
    path = tmp_path / "a.mcap"
    writer = McapWriter(path, {}, WriterOptions(flush_period_s=0.02))
    writer.put(message(STATES, joint_state(1.0)))
    wait_for(lambda: list(readable_prefix(path)) == [joint_state(1.0)])
    writer.put(message(STATES, joint_state(2.0)))
    wait_for(lambda: len(list(readable_prefix(path))) == 2)
    writer.close()


WRITE_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from levine_policy_node.runtime.mcap_writer import *
topic = RecordedTopic("/task", "std_msgs/msg/String")
writer = McapWriter(Path(sys.argv[1]), {})
for i in range(10**9):
    text = f"{i:08d}".encode() + bytes(1)
    data = bytes([0, 1, 0, 0, 9, 0, 0, 0]) + text
    writer.put(RecordedMessage(topic, time.monotonic_ns(), 0, data))
    print(i, flush=True)
    time.sleep(0.001)
"""


def test_kill_9_leaves_a_readable_prefix(tmp_path):
    path = tmp_path / "a.mcap.open"
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        sent = 0
        for line in child.stdout:
            sent = int(line)
            if sent == 600:
                child.send_signal(signal.SIGKILL)
        child.wait(10)
    found = [int(data[8:16]) for data in readable_prefix(path)]
    assert found == list(range(len(found)))
    # About 1000 messages per second and a flush at least every 0.1 s.
    assert len(found) >= sent - 300


@pytest.mark.parametrize("cut", [1, 5, 9, 40, 100])
def test_every_complete_chunk_survives_a_torn_end(tmp_path, cut):
    path = tmp_path / "a.mcap"
    writer = McapWriter(path, {}, WriterOptions(flush_period_s=0.01))
    for i in range(4):
        writer.put(message(STATES, joint_state(i)))
        wait_for(lambda n=i + 1: len(list(readable_prefix(path))) == n)
    whole = path.read_bytes()  # still open: ends after the fourth chunk's indexes
    writer.close()
    path.write_bytes(whole[:-cut])
    assert list(readable_prefix(path))[:3] == [joint_state(i) for i in range(3)]


def test_a_full_disk_ends_the_writing_not_the_process(tmp_path):
    """A file size limit stands in for a full disk: write() fails in the same way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = tmp_path / "a.mcap"
    writer = McapWriter(path, {}, WriterOptions(flush_period_s=0.02))
    writer.put(message(STATES, joint_state(1.0)))
    wait_for(lambda: list(readable_prefix(path)) == [joint_state(1.0)])
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5000, before[1]))
        wait_for(lambda: not writer.put(message(STATES, joint_state(2.0))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    report = writer.close({"outcome": "unknown"})
    assert "File too large" in writer.failure
    assert report.sha256 == ""
    assert writer.dropped > 0
    found = list(readable_prefix(path))
    assert found[0] == joint_state(1.0)
    assert path.stat().st_size == report.size


def test_a_file_is_never_written_over(tmp_path):
    path = tmp_path / "a.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(RecordingError, match=r"a\.mcap: cannot be written \(File exists\)"):
        McapWriter(path, {})
    assert path.read_bytes() == b"precious"


def test_overload_drops_images_first_and_counts(tmp_path):
    queue: ByteQueue[str] = ByteQueue(100)
    assert queue.put("image", 70, bulky=True)
    assert not queue.put("image", 10, bulky=True)
    assert queue.put("state", 30)
    assert not queue.put("state", 1)
    assert queue.take_all(0.0) == ["image", "state"]
    assert queue.put("state", 100)

    writer = McapWriter(tmp_path / "a.mcap", {}, WriterOptions(queue_bytes=100))
    big = RecordedMessage(CAMERA, 1, 1, bytes(200))
    assert [writer.put(big) for _ in range(3)] == [False] * 3
    assert dict(writer.close().dropped) == {CAMERA.name: 3}


def test_a_closed_queue_refuses_and_wakes_its_reader():
    queue: ByteQueue[str] = ByteQueue(100)
    taken: list[list[str]] = []
    reader = threading.Thread(target=lambda: taken.append(queue.take_all(30.0)))
    queue.put("last", 1)
    reader.start()
    queue.close()
    reader.join(10)
    assert taken == [["last"]]
    assert not queue.put("late", 1)
    assert queue.finished


def test_files_are_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for i in range(3):
        McapWriter(tmp_path / f"{i}.mcap", {}).close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

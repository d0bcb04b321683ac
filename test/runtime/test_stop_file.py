# SPDX-License-Identifier: Apache-2.0
"""Stops on the disk: read back by libraries that know nothing of ours, and told in words."""

from __future__ import annotations

import json
import resource
import signal
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, get_typestore
from stop_ticks import OFFSET_NS, ROBOT, Scene, silenced

from levine_policy_node.cli.main import EXIT_OK, EXIT_USAGE, main
from levine_policy_node.core.black_box import DIED, BlackBox, Stop
from levine_policy_node.core.modes import Event
from levine_policy_node.core.stop_messages import TYPES
from levine_policy_node.core.stop_record import StopRecord
from levine_policy_node.core.stop_report import report_of
from levine_policy_node.core.tick_record import unpack_tick
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.mcap_writer import McapWriter, RecordedMessage, RecordedTopic
from levine_policy_node.runtime.stop_file import OtherFile, read_stop
from levine_policy_node.runtime.stop_saver import Saved, StopSaver, Surroundings
from levine_policy_node.runtime.stop_store import StopStore

STORE = get_typestore(Stores.ROS2_KILTED)
TICKS = silenced()
AROUND = Surroundings(
    ROBOT.joint_names,
    {topic: f"/lab/{topic}" for topic in TYPES},
    {
        "robot": {"name": ROBOT.name, "file": "sim_so101.yaml", "sha256": ROBOT.sha256},
        "limits": {
            name: {
                "position": list(joint.position),
                "velocity": joint.velocity,
                "acceleration": joint.acceleration,
                "jerk": joint.jerk,
                "role": joint.role,
                "source": dict(joint.source),
                "placeholder": list(joint.placeholder),
            }
            for name, joint in ROBOT.joints.items()
        },
        "options": {"rest_velocity": 0.1, "lead_s": 0.04, "sends_windows": True},
        "software": {"levine_policy_node": "1.2.3"},
    },
)


def save(root: Path, ticks=TICKS, *, repeats: int = 1, cause: str = "", **bounds) -> list[Saved]:
    """Write the stop in `ticks`; returns what was told about it."""
    told: list[Saved] = []
    limits = {"keep_files": 10, "keep_mb": 500, "reserve_gb": 0.0, **bounds}
    saver = StopSaver(StopStore(root, **limits), AROUND, told.append)
    for _ in range(repeats):
        box = BlackBox()
        for data in ticks:
            for step in box.add(unpack_tick(data), len(data)):
                saver.take(step)
        for step in box.finish(cause, ""):
            saver.take(step)
    assert saver.close(30.0)
    return told


@pytest.fixture(scope="module")
def stop_file(tmp_path_factory) -> Path:
    (saved,) = save(tmp_path_factory.mktemp("stops"))
    assert not saved.problem
    return Path(saved.file)


def test_the_name_says_when_and_why(stop_file):
    assert stop_file.name.startswith("stop_2026")
    assert stop_file.name.endswith("Z_POLICY_LOST.mcap")
    assert [path.name for path in stop_file.parent.iterdir()] == [stop_file.name]


def test_any_reader_finds_every_input_and_output(stop_file):
    found: dict[str, list[tuple[int, object]]] = {}
    with stop_file.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        for schema, channel, message in reader.iter_messages():
            value = STORE.deserialize_cdr(message.data, schema.name)
            found.setdefault(channel.topic, []).append((message.log_time, value))
        metadata = {record.name: record.metadata for record in reader.iter_metadata()}
    assert metadata["levine"]["cause"] == "POLICY_LOST"
    assert json.loads(metadata["levine"]["limits"])["elbow_flex"]["placeholder"]
    assert json.loads(metadata["levine.end"]["stops"])[0]["cause"] == "POLICY_LOST"
    ticks = [unpack_tick(data) for data in TICKS]
    commands = [tick.command for tick in ticks if tick.command is not None]
    told = [message for _, message in found["/lab/supervisor/command"]]
    last = told[-1]
    assert last.name == list(ROBOT.joint_names)
    match = next(c for c in commands if np.array_equal(c.position, last.position))
    assert last.header.frame_id in {match.source, "hold"}
    windows = [message for _, message in found["/lab/window"]]
    assert all(not np.any(w.points[-1].velocities) for w in windows)
    chunks = [message for _, message in found["/lab/policy/action_chunk"]]
    assert chunks[0].header.frame_id == "policy:swing@0badcafe#0"
    assert len(chunks[0].points) == 25
    assert [m.data for _, m in found["/lab/supervisor/mode"]][-2:] == ["STOPPING", "PAUSED"]
    events = [s.name for _, m in found["/lab/supervisor/events"] for s in m.status]
    assert "POLICY_LOST" in events
    heartbeats = [m.data for _, m in found["/lab/policy/heartbeat"]]
    assert heartbeats == sorted(heartbeats)
    assert len(found["/lab/joint_states"]) == len(found["/lab/supervisor/ticks"])
    assert all(abs(time - OFFSET_NS - ticks[0].due_ns) < 60e9 for time, _ in told_times(found))


def told_times(found):
    return [item for messages in found.values() for item in messages]


def test_the_report_is_what_the_arm_did(stop_file):
    record = read_stop(stop_file)
    assert isinstance(record, StopRecord)
    report = report_of(record)
    ticks = [unpack_tick(data) for data in TICKS]
    stop = next(tick for tick in ticks if tick.mode == "STOPPING")
    rest = next(tick for tick in ticks if tick.mode == "PAUSED")
    assert report.source == "policy:swing@0badcafe#0"
    assert report.policies == ("policy:swing@0badcafe#0",)
    assert report.commanded_rest_s == pytest.approx((rest.due_ns - stop.due_ns) / 1e9, abs=0.011)
    assert report.rest_s <= report.commanded_rest_s + 0.05
    # Commands are seen once per tick, and a splice keeps clear of knots.
    assert report.commanded_rest_s == pytest.approx(report.predicted_s, abs=0.03)
    moved = rest.measured.position - stop.measured.position
    assert [joint.moved for joint in report.joints] == pytest.approx(list(moved), abs=0.02)
    assert report.ages_ms["policy/heartbeat"] > 100.0
    assert report.ages_ms["operator/target"] is None
    assert report.missing_ticks == 0
    assert [mode for _, mode in report.modes] == ["POLICY", "STOPPING(PAUSED)", "PAUSED"]


def test_show_says_it_in_words_and_in_a_plot(stop_file, tmp_path, capsys):
    plot, figures = tmp_path / "stop.png", tmp_path / "stop.json"
    arguments = ["record", "show", str(stop_file), "--plot", str(plot), "--json", str(figures)]
    assert main(arguments) == EXIT_OK
    text = capsys.readouterr().out
    for expected in (
        "POLICY_LOST (the policy is silent; demands PAUSE)",
        "policy/heartbeat: nothing for 101 ms",
        "POLICY -> STOPPING(PAUSED) (+0 ms) -> PAUSED",
        "policy:swing@0badcafe#0",
        "by the limits",
        "wrist_flex",
        "chosen; not published",
        ROBOT.sha256,
    ):
        assert expected in text
    assert plot.read_bytes().startswith(b"\x89PNG")
    document = json.loads(figures.read_text())
    assert document["stop"]["cause"] == "POLICY_LOST"
    assert document["report"]["rest_s"] > 0.0


def test_what_moves_again_in_the_same_file_is_not_the_stop(tmp_path):
    scene = Scene()
    ticks = [*scene.run(0.1), *scene.run(0.1, Event.ARM), *scene.run(1.8, Event.ENGAGE)]
    ticks += [*scene.run(0.4, Event.PAUSE), *scene.run(1.0, Event.RESUME)]
    (saved,) = save(tmp_path, ticks)
    assert saved.stop.cause == "OPERATOR_PAUSE"
    report = report_of(read_stop(Path(saved.file)))
    assert [mode for _, mode in report.modes][-1] == "POLICY"
    assert report.rest_s < 0.4
    assert max(abs(joint.moved) for joint in report.joints) < 0.15


def test_a_dead_supervisors_file_says_what_the_controller_had(tmp_path, capsys):
    moving = TICKS[: len(TICKS) - 160]
    (saved,) = save(tmp_path, moving, cause=DIED)
    assert main(["record", "show", saved.file]) == EXIT_OK
    text = capsys.readouterr().out
    assert "SUPERVISOR_DIED (the supervisor's process ended without a farewell)" in text
    record = read_stop(Path(saved.file))
    assert f"ends at rest {record.last_window_s * 1e3:.0f} ms after it" in text
    # At most 0.1 s of motion, and the brake.
    assert 0.05 < record.last_window_s < 0.5
    assert report_of(record).ages_ms["joint_states"] == pytest.approx(3.0)


def in_chunks(file: Path, size: int) -> bytes:
    """The same records in chunks of this size: how large ours are depends on the disk's speed."""
    buffer = BytesIO()
    writer = Writer(buffer, chunk_size=size, compression=CompressionType.NONE)
    writer.start()
    for record in StreamReader(BytesIO(file.read_bytes())).records:
        if isinstance(record, Metadata):
            writer.add_metadata(record.name, record.metadata)
        elif isinstance(record, Schema):
            writer.register_schema(record.name, record.encoding, record.data)
        elif isinstance(record, Channel):
            writer.register_channel(record.topic, record.message_encoding, record.schema_id)
        elif isinstance(record, Message):
            writer.add_message(
                record.channel_id, record.log_time, record.data, record.publish_time
            )
    writer.finish()
    return buffer.getvalue()


def test_a_torn_file_is_shown_as_far_as_it_goes(stop_file, tmp_path, capsys):
    torn = tmp_path / f"{stop_file.name}.open"
    data = in_chunks(stop_file, 10_000)
    torn.write_bytes(data[: len(data) // 2])
    assert main(["record", "show", str(torn)]) == EXIT_OK
    assert "never closed" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not an mcap at all", b"\x89MCAP0\r\n" + bytes(64)])
def test_what_is_no_recording_is_one_clear_line(content, tmp_path, capsys):
    path = tmp_path / "broken.mcap"
    path.write_bytes(content)
    assert main(["record", "show", str(path)]) == EXIT_USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "broken.mcap" in said


def test_a_damaged_message_ends_what_is_shown(stop_file, tmp_path):
    data = bytearray(in_chunks(stop_file, 10_000))
    at = data.index(b"shoulder_pan\x00", 50_000)
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "damaged.mcap"
    path.write_bytes(data)
    # The checksum of its chunk tells; what came before it is shown.
    found = read_stop(path)
    assert isinstance(found, StopRecord)
    assert not found.complete


def test_no_file_is_one_clear_line(tmp_path):
    with pytest.raises(RecordingError, match="cannot be read"):
        read_stop(tmp_path / "none.mcap")


def test_an_episode_is_opened_and_called_by_its_name(tmp_path, capsys):
    path = tmp_path / "ep_000000.mcap"
    writer = McapWriter(path, {"session": "s", "episode": "ep_000000", "robot": "so101"})
    topic = RecordedTopic("/task", "std_msgs/msg/String")
    writer.put(RecordedMessage(topic, 10**9, 10**9, b"\x00\x01\x00\x00\x01\x00\x00\x00\x00"))
    writer.close()
    found = read_stop(path)
    assert isinstance(found, OtherFile)
    assert found.is_episode
    assert main(["record", "show", str(path)]) == EXIT_OK
    said = capsys.readouterr().out
    assert "Episode ep_000000 of session s" in said
    assert "robot     so101" in said


def stop(cause: str, second: int) -> Stop:
    return Stop(cause, "", second * 10**9, OFFSET_NS, "POLICY", "STOPPING(PAUSED)")


def test_the_oldest_go_first_and_an_operators_before_the_others(tmp_path):
    causes = ["TRACKING", "OPERATOR_PAUSE", "POLICY_LOST", "OPERATOR_STOP", "OVERRUN"]
    store = StopStore(tmp_path, keep_files=3, keep_mb=500, reserve_gb=0.0)
    for second, cause in enumerate(causes):
        path = store.new_file(stop(cause, second))
        path.write_bytes(b"x")
        store.publish(path)
    kept = sorted(path.name.split("_", 2)[2] for path in tmp_path.iterdir())
    assert kept == ["OVERRUN.mcap", "POLICY_LOST.mcap", "TRACKING.mcap"]
    store.publish(touched(store.new_file(stop("BAD_CHUNKS", 9))))
    kept = sorted(path.name.split("_", 2)[2] for path in tmp_path.iterdir())
    assert kept == ["BAD_CHUNKS.mcap", "OVERRUN.mcap", "POLICY_LOST.mcap"]


def touched(path: Path) -> Path:
    path.write_bytes(b"x")
    return path


def test_files_of_others_are_neither_counted_nor_removed(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    store = StopStore(tmp_path, keep_files=1, keep_mb=500, reserve_gb=0.0)
    for second in range(3):
        store.publish(touched(store.new_file(stop("OVERRUN", second))))
    assert len(list(tmp_path.glob("stop_*"))) == 1
    assert (tmp_path / "notes.txt").exists()


def test_the_size_is_bounded_and_two_stops_in_one_moment_are_two_files(tmp_path):
    store = StopStore(tmp_path, keep_files=100, keep_mb=16, reserve_gb=0.0)
    for _ in range(3):
        path = store.new_file(stop("OVERRUN", 1))
        path.write_bytes(bytes(400_000))
        store.publish(path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3
    assert names[0].endswith("OVERRUN-2.mcap")
    store.publish(touched(store.new_file(stop("OVERRUN", 2))))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000_000


def test_space_that_is_reserved_is_not_taken(tmp_path):
    (told,) = save(tmp_path, reserve_gb=1e6)
    assert "GB free (reserve" in told.problem
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_used_is_told_and_the_next_stop_is_tried_again(tmp_path):
    root = tmp_path / "file"
    root.write_text("in the way")
    told = save(root, repeats=2)
    assert [saved.stop.cause for saved in told] == ["POLICY_LOST"] * 2
    assert all("cannot be used" in saved.problem for saved in told)


def test_a_full_disk_keeps_what_was_written_before_it(tmp_path):
    """A limit on the size of files fails a write as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        (told,) = save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "what was written before it is kept" in told.problem
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".mcap.open")
    assert left.stat().st_size <= 200_000


def test_a_disk_that_hangs_holds_up_nobody_and_memory_stays_bounded(tmp_path, monkeypatch):
    """The writer's thread waits for the disk; steps are still taken, at most so many."""
    released = threading.Event()
    opened = StopStore.new_file

    def slow(store: StopStore, begun: Stop) -> Path:
        released.wait(30.0)
        return opened(store, begun)

    monkeypatch.setattr(StopStore, "new_file", slow)
    told: list[Saved] = []
    store = StopStore(tmp_path, keep_files=100, keep_mb=500, reserve_gb=0.0)
    saver = StopSaver(store, AROUND, told.append, queued=300)
    box = BlackBox()
    steps = [step for data in TICKS for step in box.add(unpack_tick(data), len(data))]
    for _ in range(10):
        for step in steps:
            saver.take(step)
    assert saver.waiting <= 300
    assert not saver.close(0.1)
    released.set()
    assert saver.close(60.0)
    assert len(told) == 10
    dropped = [saved for saved in told if saved.problem]
    assert dropped
    assert all("the disk has not taken" in saved.problem for saved in dropped)
    written = [saved for saved in told if not saved.problem]
    assert written
    assert all(Path(saved.file).exists() for saved in written)

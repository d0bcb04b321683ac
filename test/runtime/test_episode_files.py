# SPDX-License-Identifier: Apache-2.0
"""Sessions and episodes on the disk: layout, atomic files, guards, and rosbag2's reading."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from levine_policy_node.core.episode import Provenance
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime import recording as recording_module
from levine_policy_node.runtime.episode_files import (
    create_session,
    new_session_id,
    write_json,
)
from levine_policy_node.runtime.mcap_writer import RecordedMessage, RecordedTopic, WriterOptions
from levine_policy_node.runtime.recording import Recording, RecordingOptions

STORE = get_typestore(Stores.ROS2_KILTED)
MODE = RecordedTopic("/supervisor/mode", "std_msgs/msg/String", latched=True)
NOTE = RecordedTopic("/note", "std_msgs/msg/String")
PROVENANCE = Provenance(
    session="s", robot="sim_so101", robot_sha256="ab" * 32, policy="pick", seed=7, operator="o1"
)
SECOND = 1_000_000_000


def text(topic: RecordedTopic, value: str, stamp_ns: int) -> RecordedMessage:
    message = STORE.types["std_msgs/msg/String"](value)
    data = bytes(STORE.serialize_cdr(message, "std_msgs/msg/String"))
    return RecordedMessage(topic, stamp_ns, stamp_ns, data)


def at(seconds: float) -> StampNs:
    return StampNs(int(seconds * SECOND))


@pytest.fixture
def session(tmp_path) -> Path:
    return create_session(tmp_path, "session", {"session": "session"})


@pytest.fixture
def recording(session) -> Recording:
    return Recording(session, RecordingOptions(min_free_gb=0.0, reserve_gb=0.0))


def document(session: Path, episode: str) -> dict:
    return json.loads((session / episode / "episode.json").read_text())


def test_session_ids_sort_by_time_and_do_not_repeat():
    ids = [new_session_id() for _ in range(20)]
    assert len(set(ids)) == 20
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", name) for name in ids)


def test_a_session_is_created_once(tmp_path):
    create_session(tmp_path / "new" / "root", "s", {"session": "s"})
    stored = json.loads((tmp_path / "new/root/s/session.json").read_text())
    assert stored == {"session": "s"}
    with pytest.raises(RecordingError, match="exists already"):
        create_session(tmp_path / "new" / "root", "s", {})


def test_an_unusable_root_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"file/s: cannot be written \(Not a directory\)"):
        create_session(tmp_path / "file", "s", {})


def test_json_files_are_replaced_whole(tmp_path):
    path = tmp_path / "episode.json"
    write_json(path, {"a": 1})
    with path.open() as reader:
        write_json(path, {"a": 2})
        assert json.load(reader) == {"a": 1}  # whoever was reading keeps the old file
    assert json.loads(path.read_text()) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["episode.json"]


def test_one_episode_from_start_to_end(session, recording):
    recording.put(text(MODE, "ARMED", 10 * SECOND))
    recording.put(text(NOTE, "before", 11 * SECOND))
    opened = recording.start(PROVENANCE, at(20))
    assert opened == session / "ep_000000" / "ep_000000.mcap.open"
    assert opened.is_file()
    assert document(session, "ep_000000")["state"] == "open"
    recording.put(text(NOTE, "during", 21 * SECOND))
    recording.entered("POLICY", at(21))
    recording.entered("HUMAN", at(22))
    recording.proposed_by("policy:pick@0123abcd#1")
    assert recording.mark("success", "operator", at(23)) == "ep_000000"
    closed = recording.end(at(24))
    recording.put(text(NOTE, "after", 25 * SECOND))

    assert closed == session / "ep_000000" / "ep_000000.mcap"
    names = {path.name for path in closed.parent.iterdir()}
    assert names == {"ep_000000.mcap", "metadata.yaml", "episode.json"}
    with closed.open("rb") as stream:
        found = [
            (c.topic, STORE.deserialize_cdr(m.data, s.name).data, m.log_time, m.publish_time)
            for s, c, m in make_reader(stream, validate_crcs=True).iter_messages()
        ]
    # What a latched topic said last is part of the episode; it was made before it began.
    assert found == [
        ("/supervisor/mode", "ARMED", 20 * SECOND, 10 * SECOND),
        ("/note", "during", 21 * SECOND, 21 * SECOND),
    ]
    stored = document(session, "ep_000000")
    assert stored["state"] == "closed"
    assert (stored["outcome"], stored["interventions"]) == ("success", 1)
    assert stored["policies"] == ["pick@0123abcd"]
    assert (stored["messages"], stored["bytes"]) == (2, closed.stat().st_size)
    assert (stored["seed"], stored["operator"], stored["duration_s"]) == (7, "o1", 4.0)
    assert stored["topics"]["/note"] == {"type": "std_msgs/msg/String", "messages": 1}


def test_rosbag2_directories_are_readable(session, recording):
    recording.put(text(MODE, "POLICY", SECOND))
    recording.start(PROVENANCE, at(2))
    for i in range(10):
        recording.put(text(NOTE, f"n{i}", (3 + i) * SECOND))
    recording.mark("failure", "operator", at(14))
    recording.end(at(15))
    with Reader(session / "ep_000000") as bag:
        assert bag.message_count == 11
        assert (bag.start_time, bag.end_time) == (2 * SECOND, 12 * SECOND + 1)
        topics = {c.topic: c for c in bag.connections}
        found = [STORE.deserialize_cdr(d, c.msgtype).data for c, _, d in bag.messages()]
    assert found == ["POLICY", *(f"n{i}" for i in range(10))]
    metadata = yaml.safe_load((session / "ep_000000" / "metadata.yaml").read_text())
    custom = metadata["rosbag2_bagfile_information"]["custom_data"]
    assert (custom["outcome"], custom["seed"]) == ("failure", "7")
    [qos] = topics["/supervisor/mode"].ext.offered_qos_profiles
    assert (qos.durability, qos.reliability) == (
        QosDurability.TRANSIENT_LOCAL,
        QosReliability.RELIABLE,
    )
    assert topics["/note"].ext.offered_qos_profiles[0].durability is QosDurability.VOLATILE
    assert topics["/note"].digest == STORE.hash_rihs01("std_msgs/msg/String")


def test_an_empty_episode_is_readable(session, recording):
    recording.start(PROVENANCE, at(1))
    recording.end(at(2))
    with Reader(session / "ep_000000") as bag:
        assert bag.message_count == 0


def test_marks_after_the_end_change_only_the_document(session, recording):
    recording.start(PROVENANCE, at(1))
    closed = recording.end(at(2))
    before = closed.read_bytes()
    recording.mark("failure", "operator", at(3))
    recording.set_aside()
    stored = document(session, "ep_000000")
    assert (stored["outcome"], stored["discarded"], stored["state"]) == ("failure", True, "closed")
    assert closed.read_bytes() == before


def test_episodes_are_numbered_and_counted(session, recording):
    for i in range(3):
        recording.start(PROVENANCE, at(10 * i))
        recording.put(text(NOTE, "x", SECOND))
        assert recording.status().episodes == i + 1
        recording.end(at(10 * i + 1))
    counted = recording.status()
    assert (counted.episodes, counted.messages, counted.dropped) == (3, 3, 0)
    assert counted.file == str(session / "ep_000002" / "ep_000002.mcap")
    assert sorted(p.name for p in session.glob("ep_*")) == ["ep_000000", "ep_000001", "ep_000002"]


@pytest.mark.parametrize("action", ["end", "mark", "set_aside"])
def test_actions_without_an_episode_are_refused(recording, action):
    arguments = {"end": (at(1),), "mark": ("success", "operator", at(1)), "set_aside": ()}
    with pytest.raises(RecordingError, match="Start one first"):
        getattr(recording, action)(*arguments[action])


def test_a_second_start_is_refused(recording):
    recording.start(PROVENANCE, at(1))
    with pytest.raises(RecordingError, match="ep_000000 is being recorded already"):
        recording.start(PROVENANCE, at(2))
    recording.end(at(3))


def test_a_full_disk_refuses_an_episode_with_one_line(session):
    recording = Recording(session, RecordingOptions(min_free_gb=1e9))
    with pytest.raises(RecordingError, match=r"GB free, below min_free_gb 1e\+09") as caught:
        recording.start(PROVENANCE, at(1))
    assert "\n" not in str(caught.value)
    assert not recording.is_open
    assert not list(session.glob("ep_*"))


def test_a_filling_disk_is_reported_while_recording(session):
    recording = Recording(session, RecordingOptions(min_free_gb=0.0, reserve_gb=1e9))
    assert recording.problem() == ""
    recording.start(PROVENANCE, at(1))
    assert "reserve_gb" in recording.problem()
    recording.abort_unjudged("disk", at(2))
    assert recording.end(at(3)).is_file()
    assert document(session, "ep_000000")["outcome"] == "aborted"


def test_a_failed_write_leaves_the_open_file_and_says_so(session, monkeypatch):
    class Broken(recording_module.McapWriter):
        """Fails as a full disk does, from the second message on."""

        def _write(self, message):
            if self.written == 1:
                raise OSError(28, "No space left on device")
            super()._write(message)

    monkeypatch.setattr(recording_module, "McapWriter", Broken)
    options = RecordingOptions(WriterOptions(flush_period_s=0.01), 0.0, 0.0)
    recording = Recording(session, options)
    recording.start(PROVENANCE, at(1))
    for i in range(3):
        recording.put(text(NOTE, "x", i + 1))
    with pytest.raises(RecordingError, match=r"was cut short: .*No space left on device"):
        recording.end(at(2))
    assert not recording.is_open
    stored = document(session, "ep_000000")
    assert stored["state"] == "failed"
    assert "No space left" in stored["error"]
    assert stored["file"] == "ep_000000.mcap.open"
    assert (session / "ep_000000" / "ep_000000.mcap.open").is_file()
    assert not (session / "ep_000000" / "metadata.yaml").exists()
    monkeypatch.undo()
    recording.start(PROVENANCE, at(3))
    recording.end(at(4))
    assert document(session, "ep_000001")["state"] == "closed"

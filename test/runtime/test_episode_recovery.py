# SPDX-License-Identifier: Apache-2.0
"""Episodes that a crash left open are closed, and say what they know."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from levine_policy_node.core.episode import Provenance
from levine_policy_node.core.message_bytes import (
    Status,
    diagnostics_bytes,
    string_bytes,
)
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_files import create_session
from levine_policy_node.runtime.episode_recovery import (
    file_sha256,
    recover_episode,
    unfinished_episodes,
)
from levine_policy_node.runtime.mcap_writer import RecordedMessage, RecordedTopic, WriterOptions
from levine_policy_node.runtime.recording import Recording, RecordingOptions
from levine_policy_node.runtime.session_document import pseudonym

SECOND = 1_000_000_000
MODE = RecordedTopic("/arm/supervisor/mode", "std_msgs/msg/String", latched=True)
EVENTS = RecordedTopic("/arm/supervisor/events", "diagnostic_msgs/msg/DiagnosticArray")
TASK = RecordedTopic("/arm/task", "std_msgs/msg/String", latched=True)
MADE_WITH = Provenance(session="s", robot="so101", robot_sha256="ab" * 32, operator="op-1")
OPTIONS = RecordingOptions(WriterOptions(flush_period_s=0.01), 0.0, 0.0)


def at(seconds: float) -> StampNs:
    return StampNs(int(seconds * SECOND))


def said(topic: RecordedTopic, seconds: float, data: bytes) -> RecordedMessage:
    return RecordedMessage(topic, at(seconds), at(seconds), data)


@pytest.fixture
def crashed(tmp_path) -> Path:
    """A session with one closed episode and one as `kill -9` leaves it."""
    session = create_session(tmp_path / "live", "session", {"session": "session"})
    recording = Recording(session, OPTIONS)
    recording.start(MADE_WITH, at(1))
    recording.put(said(MODE, 2, string_bytes("POLICY")))
    recording.mark("success", "operator", at(3), "op-1")
    recording.end(at(3))
    recording.start(MADE_WITH, at(10))
    recording.put(said(MODE, 11, string_bytes("POLICY")))
    recording.put(said(TASK, 11, string_bytes("stack")))
    change = Status(0, "MODE", "POLICY -> HUMAN: operator: takeover", "", {})
    recording.put(said(EVENTS, 12, diagnostics_bytes(at(12), [change])))
    recording.put(said(MODE, 12, string_bytes("HUMAN")))
    recording.put(said(MODE, 14, string_bytes("PAUSED")))
    # Flushed while it is open, then copied: what is on the disk at that moment.
    opened = session / "ep_000001" / "ep_000001.mcap.open"
    left = tmp_path / "left" / "session"
    while recording.status().messages < 6 or opened.stat().st_size < 4000:
        os.sched_yield()
    recording_size = opened.stat().st_size
    shutil.copytree(session, left)
    recording.end(at(20))
    copied = left / "ep_000001" / "ep_000001.mcap.open"
    with copied.open("r+b") as stream:
        stream.truncate(recording_size)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\x06torn")
    return left


def document(directory: Path) -> dict:
    return json.loads((directory / "episode.json").read_text())


def test_a_crash_is_told_from_the_messages(crashed):
    [directory] = unfinished_episodes(crashed)
    recovered = recover_episode(directory)
    assert "recovered 6 messages, 4.0 s, 5 torn bytes put aside" in recovered.words()
    stored = document(directory)
    assert (stored["state"], stored["recovered"], stored["dropped_bytes"]) == ("closed", True, 5)
    assert (stored["outcome"], stored["interventions"]) == ("unknown", 1)
    assert stored["policy_lost_the_arm"][0]["trigger"] == "human"
    assert (stored["task"], stored["operator"]) == ("stack", "op-1")
    assert (stored["start_ns"], stored["end_ns"]) == (at(10), at(14))
    closed = directory / "ep_000001.mcap"
    assert stored["file_sha256"] == file_sha256(closed)
    assert stored["topics"]["/arm/task"] == {"type": "std_msgs/msg/String", "messages": 1}
    with closed.open("rb") as stream:
        assert len(list(make_reader(stream, validate_crcs=True).iter_messages())) == 6
    with Reader(directory) as bag:
        assert bag.message_count == 6
    assert not list(unfinished_episodes(crashed))


@pytest.mark.parametrize("lost", ["episode.json", "half"])
def test_a_crash_at_any_step_of_it_is_made_good(crashed, lost):
    directory = crashed / "ep_000001"
    recover_episode(directory)
    once = document(directory)
    if lost == "half":  # killed between the rename and the document
        (directory / "episode.json").write_text(json.dumps({**once, "state": "open"}))
    else:
        (directory / "episode.json").unlink()
    assert list(unfinished_episodes(crashed.parent)) == [directory]
    recover_episode(directory)
    again = document(directory)
    assert again["file_sha256"] == once["file_sha256"]
    assert again["policy_lost_the_arm"] == once["policy_lost_the_arm"]
    assert again["robot"] == once["robot"]


def test_a_judgement_outlives_the_crash(crashed):
    directory = crashed / "ep_000001"
    before = {**document(directory), "outcome": "failure", "outcome_source": "operator"}
    (directory / "episode.json").write_text(json.dumps(before))
    recover_episode(directory)
    assert document(directory)["outcome"] == "failure"


def test_an_episode_without_a_file_is_closed_as_failed(crashed):
    directory = crashed / "ep_000001"
    (directory / "ep_000001.mcap.open").unlink()
    assert "nothing had been recorded" in recover_episode(directory).words()
    assert document(directory)["state"] == "failed"
    assert not list(unfinished_episodes(crashed))


def test_a_running_recorder_is_not_disturbed(crashed):
    descriptor = os.open(crashed, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(RecordingError, match="a recorder or a repair is at work"):
            recover_episode(crashed / "ep_000001")
    finally:
        os.close(descriptor)
    assert (crashed / "ep_000001" / "ep_000001.mcap.open").exists()


def test_pseudonyms_are_stable_salted_and_secret(tmp_path):
    first, other = tmp_path / "a" / "salt", tmp_path / "b" / "salt"
    assert pseudonym("", first) == ""
    assert not first.exists()
    name = pseudonym("Ada Lovelace", first)
    assert name == pseudonym(" ada lovelace", first)
    assert name != pseudonym("Ada Lovelace", other)
    assert name != pseudonym("Grace Hopper", first)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600

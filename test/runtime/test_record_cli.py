# SPDX-License-Identifier: Apache-2.0
"""`levine record`: what a person is told of episodes, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from written_episode import START_NS, WrittenEpisode, image, joint_state, make, string, trajectory

from levine_policy_node.cli.main import main
from levine_policy_node.runtime.episode_files import create_session

NAMES = ("pan", "lift")
TICK_NS = 10_000_000
POLICY, HUMAN = "policy:pick@0123abcd#1", "operator:leader"


def diagnostics(stamp_ns: int, *said: tuple[str, str]):
    kind = "diagnostic_msgs/msg/DiagnosticStatus"
    statuses = [make(kind, 0, name, text, "safety_supervisor", []) for name, text in said]
    head = joint_state(stamp_ns, [], []).header
    return make("diagnostic_msgs/msg/DiagnosticArray", head, statuses)


def write_episode(session: Path) -> Path:
    """1 s of the policy, 1 s of a person, 1 s of the policy again; 100 commands per second."""
    made = WrittenEpisode(session, 90, policy="pick", task="pick it up", operator="op-1234")
    at = START_NS
    made.put("supervisor/mode", string("POLICY"), at)
    for i in range(300):
        at = START_NS + i * TICK_NS
        if i == 0:
            made.put("supervisor/events", diagnostics(at, ("MODE", "ARMED -> POLICY: engage")), at)
        if i == 100:
            text = ("MODE", "POLICY -> HUMAN: operator: takeover")
            made.put("supervisor/events", diagnostics(at, text), at)
        if i == 200:
            text = ("MODE", "HUMAN -> POLICY: operator: handback")
            said = diagnostics(at, text, ("CHUNK_SLOWED", "1.1 times"))
            made.put("supervisor/events", said, at)
        tag = HUMAN if 102 <= i < 202 else POLICY
        asked = [i / 100, 0.5]
        made.put("supervisor/proposal", joint_state(at, NAMES, asked, frame_id=tag), at)
        sent = [i / 100, 0.5 - 0.1 * (i >= 290)]
        made.put("supervisor/command", joint_state(at, NAMES, sent, frame_id=tag), at)
        if i % 10 == 0:
            pixels = np.full((48, 64, 3), i % 255, np.uint8)
            made.put("camera/front/image", image(at, pixels), at)
            rows = np.zeros((3, 2))
            made.put("policy/raw_chunk", trajectory(at, NAMES, [0, 0.05, 0.1], rows, POLICY), at)
    made.put("reward", make("std_msgs/msg/Float64", 0.5), at)
    return made.end(at)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    write_episode(create_session(root, "s1", {"session": "s1"}))
    return root


def test_show_tells_an_episode_as_a_person_would(recordings, tmp_path, capsys):
    files = {name: tmp_path / f"{name}.png" for name in ("plot", "thumbnails")}
    arguments = [f"--{name}={path}" for name, path in files.items()]
    figures = tmp_path / "figures.json"
    episode = recordings / "s1" / "ep_000000"
    assert main(["record", "show", str(episode), *arguments, "--json", str(figures)]) == 0
    text = capsys.readouterr().out
    for expected in (
        "Episode 0 of session s",
        "outcome   unknown: nobody has judged it",
        "task      pick it up",
        "operator  op-1234",
        "consent   not stated",
        "P policy 2.0 s, H person 1.0 s",
        "1.00 s  human: operator: takeover; a person drove 1.0 s, then POLICY",
        "10 of 300 commands were not what was asked for, at most 0.100 on lift",
        "the supervisor said: CHUNK_SLOWED 1",
        "what the policy would have done is known for",
        "rewards: 1, together 0.5",
        "/camera/front/image/compressed",
    ):
        assert expected in text, expected
    known = json.loads(figures.read_text())
    assert known["interventions"] == 1
    assert known["intervention_samples"] == 98  # less the handovers
    sheet = cv2.imread(str(files["thumbnails"]))
    assert sheet.shape[1] == 8 * 212
    assert cv2.imread(str(files["plot"])) is not None


def test_ls_lists_episodes(recordings, capsys):
    assert main(["record", "ls", str(recordings)]) == 0
    text = capsys.readouterr().out
    assert "s1/ep_000000" in text
    assert "1 episodes" in text


def test_verify_believes_nothing(recordings, tmp_path, capsys):
    root = tmp_path / "copy"
    session = create_session(root, "s1", {"session": "s1"})
    closed = write_episode(session)
    assert main(["record", "verify", str(root)]) == 0
    assert "as it was recorded" in capsys.readouterr().out
    content = bytearray(closed.read_bytes())
    content[len(content) // 2] ^= 1
    closed.write_bytes(content)
    assert main(["record", "verify", str(closed.parent)]) == 1
    text = capsys.readouterr().out
    assert "sha256 is not that of episode.json" in text
    assert "damaged" in text
    closed.unlink()
    assert main(["record", "verify", str(session)]) == 1
    assert "ep_000000.mcap is missing" in capsys.readouterr().out


def test_recover_closes_what_was_left_open_once(tmp_path, capsys):
    session = create_session(tmp_path, "s1", {"session": "s1"})
    closed = write_episode(session)
    directory = closed.parent
    opened = directory / "ep_000000.mcap.open"
    opened.write_bytes(closed.read_bytes()[:-2000])
    closed.unlink()
    (directory / "metadata.yaml").unlink()
    document = json.loads((directory / "episode.json").read_text())
    (directory / "episode.json").write_text(json.dumps({**document, "state": "open"}))

    assert main(["record", "show", str(directory)]) == 2
    assert "levine record recover" in capsys.readouterr().err
    assert main(["record", "recover", str(tmp_path)]) == 0
    assert "1 episodes recovered" in capsys.readouterr().out
    assert main(["record", "recover", str(tmp_path)]) == 0
    assert "nothing was left open" in capsys.readouterr().out
    assert main(["record", "verify", str(tmp_path)]) == 0
    assert main(["record", "ls", str(tmp_path)]) == 0
    assert "recovered" in capsys.readouterr().out
    assert main(["record", "show", str(directory)]) == 0


def test_recover_repairs_any_file(recordings, tmp_path, capsys):
    whole = recordings / "s1" / "ep_000000" / "ep_000000.mcap"
    torn = tmp_path / "other.mcap"
    torn.write_bytes(whole.read_bytes()[:-3000])
    assert main(["record", "recover", str(torn)]) == 0
    assert "repaired:" in capsys.readouterr().out
    assert main(["record", "recover", str(torn)]) == 0
    assert "whole, nothing to repair" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["ls", "verify", "recover", "show"])
def test_a_missing_path_is_one_clear_line(action, tmp_path, capsys):
    assert main(["record", action, str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_directory_without_episodes_says_so(tmp_path, capsys):
    assert main(["record", "ls", str(tmp_path)]) == 2
    assert "no episodes in it" in capsys.readouterr().err

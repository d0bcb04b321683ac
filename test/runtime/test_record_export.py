# SPDX-License-Identifier: Apache-2.0
"""`levine record export`: recordings to a LeRobot data set, again and again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from lerobot_doctor.dataset_loader import load_dataset
from lerobot_doctor.runner import run_checks
from taken_over_episode import (
    CAMERA_HZ,
    OFFSET,
    START_NS,
    Script,
    frame,
    number_of,
    robot_file,
    where,
    write_episodes,
)

from levine_policy_node.cli.main import main
from levine_policy_node.core.alignment import AlignmentLimits
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.core.units import StampNs
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.episode_reader import read_episode
from levine_policy_node.runtime.export.export_files import reserved
from levine_policy_node.runtime.export.recorded_episode import (
    CAMERA_MAX_AGE_S,
    FROZEN_MOTION_RAD,
    JOINT_MAX_AGE_S,
)

SCRIPTS = (
    Script(),
    Script(takeover_s=None, outcome="failure", seed=1),
    Script(task="turn it", seed=2),
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Three sessions of one episode."""
    root = tmp_path_factory.mktemp("recordings")
    return write_episodes(root, robot_file(tmp_path_factory.mktemp("robot")), *SCRIPTS)


def export(out: Path, *arguments) -> dict:
    report = out.with_suffix(".json")
    words = ["record", "export", "--out", str(out), "--json", str(report)]
    assert main([*words, *(str(a) for a in arguments)]) == 0
    return json.loads(report.read_text())


@pytest.fixture(scope="module")
def video(recordings, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("video") / "lifting"
    found = export(out, recordings)
    assert (found["episodes"], found["added"], found["left_out"]) == (3, 3, {})
    return out


@pytest.fixture(scope="module")
def exact(recordings, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("image") / "lifting"
    export(out, recordings, "--images", "image")
    return out


def rows_of(out: Path, episode: int) -> list[dict]:
    return pq.read_table(out / f"data/chunk-000/file-{episode:03d}.parquet").to_pylist()


def column(rows: list[dict], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def test_the_action_is_what_was_commanded_one_period_after_the_observation(video):
    rows = rows_of(video, 0)
    stamps = column(rows, "complementary_info.stamp_ns")
    times = (stamps - START_NS) / 1e9 + 1 / CAMERA_HZ
    human = (times >= SCRIPTS[0].takeover_s) & (times < SCRIPTS[0].handback_s)
    # Between two ticks it is interpolated; where the command changes hands, it steps.
    steps = np.abs(times[:, None] - np.array([1.22, 2.22])).min(axis=1) < 0.02
    wanted = [where(t, OFFSET if driven else 0.0) for t, driven in zip(times, human, strict=True)]
    np.testing.assert_allclose(column(rows, "action")[~steps], np.array(wanted)[~steps], atol=5e-4)
    assert column(rows, "intervention").tolist() == human.tolist()
    assert column(rows, "complementary_info.is_intervention").tolist() == human.tolist()
    # The policy's proposal goes on while the person drives.
    assert column(rows, "complementary_info.policy_action_valid").sum() >= len(rows) - 2
    np.testing.assert_allclose(
        column(rows, "complementary_info.policy_action")[3:],
        [where(t) for t in times[3:]],
        atol=2e-3,
    )
    valid = column(rows, "complementary_info.human_action_valid")
    assert np.all(valid[human])
    np.testing.assert_allclose(
        column(rows, "complementary_info.human_action")[human & ~steps],
        np.array(wanted)[human & ~steps],
        atol=0.02,
    )
    policies = column(rows, "complementary_info.collector_policy_id")
    assert set(policies[human]) == {"human"}
    assert set(policies[~human]) == {"weak@0123abcd"}


def test_labels_and_rewards(video):
    rows = rows_of(video, 0)
    assert column(rows, "next.done").tolist() == [False] * (len(rows) - 1) + [True]
    assert column(rows, "next.success").sum() == 1
    assert column(rows, "next.reward").sum() == 1.0
    labels = column(rows, "complementary_info.intv_label")
    onset = int(np.argmax(labels == 1))
    assert np.all(labels[onset - 11 : onset] == -10)  # 0.75 s at 15 Hz
    assert labels[onset - 13] == 0
    assert column(rows, "complementary_info.rlif_reward").tolist().index(-1.0) == onset - 1
    failed = rows_of(video, 1)
    assert not column(failed, "next.success").any()
    assert not column(failed, "next.reward").any()
    assert set(column(failed, "complementary_info.intv_label")) == {0}


def test_the_clock_is_the_recorded_one(video):
    for episode, rows in ((e, rows_of(video, e)) for e in range(3)):
        stamps = column(rows, "complementary_info.stamp_ns")
        assert len(rows) in range(42, 46)
        np.testing.assert_allclose(np.diff(stamps), 1e9 / CAMERA_HZ, atol=2)
        np.testing.assert_allclose(
            column(rows, "timestamp"), np.arange(len(rows)) / CAMERA_HZ, atol=1e-5
        )
        assert set(column(rows, "episode_index")) == {episode}
    indexes = np.concatenate([column(rows_of(video, e), "index") for e in range(3)])
    assert indexes.tolist() == list(range(len(indexes)))


def executor(robot) -> tuple[FrameStore, Replanner]:
    store = FrameStore()
    limits = AlignmentLimits(
        CAMERA_MAX_AGE_S, JOINT_MAX_AGE_S, FROZEN_MOTION_RAD, robot.arm_joints()
    )
    return store, Replanner(store, ("front", "wrist"), limits, ReplanOptions())


def test_pictures_and_states_are_those_the_executor_saw(recordings, exact):
    """To the pixel, by the executor's own frame store and replanner, message by message."""
    closed = next((recordings / "s0").glob("ep_*/*.mcap"))
    episode = read_episode(closed)
    robot = load_robot(str(episode.document["robot"]["name"]))
    store, replanner = executor(robot)
    arriving = [
        (sample.log_ns, replanner.add_joint_sample, (sample.value,))
        for sample in episode.joint_states.samples(robot.joint_names)
    ]
    for name in ("front", "wrist"):
        stream, same_pixels = episode.camera(name, robot.cameras[name])
        assert same_pixels
        for k in range(len(stream)):
            stamp_ns = StampNs(int(stream.stamp_ns[k]) - 10_000_000)
            arriving.append((int(stream.log_ns[k]), store.put, (name, stamp_ns, stream.pixels(k))))
    arriving.sort(key=lambda arrival: arrival[0])
    rows = rows_of(exact, 0)
    for row in rows:
        now_ns = row["complementary_info.stamp_ns"] + round(
            row["complementary_info.max_obs_age_ms"] * 1e6
        )
        while arriving and arriving[0][0] <= now_ns:
            _, take, what = arriving.pop(0)
            take(*what)
        replanner.restart()
        replanner.answered()
        seen = replanner.observe(StampNs(now_ns + 5))
        assert isinstance(seen, Observation), seen
        assert seen.stamp_ns == row["complementary_info.stamp_ns"]
        np.testing.assert_array_equal(
            np.float32(seen.joint_positions), np.float32(row["observation.state"])
        )
        for name, pixels in seen.images.items():
            stored = np.frombuffer(row[f"observation.images.{name}"]["bytes"], np.uint8)
            picture = cv2.cvtColor(cv2.imdecode(stored, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            np.testing.assert_array_equal(picture, pixels)


def test_every_frame_of_a_video_is_the_right_one(video):
    for episode in range(3):
        stamps = column(rows_of(video, episode), "complementary_info.stamp_ns")
        shown = [round((s - START_NS) / 1e9 * CAMERA_HZ) for s in stamps]
        path = video / f"videos/observation.images.front/chunk-000/file-{episode:03d}.mp4"
        with av.open(str(path)) as container:
            frames = [
                (float(f.pts * f.time_base), f.to_ndarray(format="rgb24"))
                for f in container.decode(video=0)
            ]
        np.testing.assert_allclose(
            [time_s for time_s, _ in frames], np.arange(len(shown)) / CAMERA_HZ, atol=1e-4
        )
        assert [number_of(pixels) for _, pixels in frames] == shown
        error = frames[9][1].astype(int) - frame(shown[9], SCRIPTS[episode].seed)
        assert np.abs(error).mean() < 25  # noise in colours that have half the resolution


def test_an_independent_checker_finds_nothing_wrong(video, exact):
    for out in (video, exact):
        report = run_checks(load_dataset(str(out)))
        found = {result.name: result for result in report.results}
        assert not [r.messages for r in found.values() if r.severity.name == "FAIL"]
        for name in ("Metadata & Format Compliance", "Temporal Consistency", "Video Integrity"):
            assert found[name].severity.name == "PASS", found[name].messages


def test_what_describes_it_is_complete(video):
    info = json.loads((video / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == (
        "v3.0",
        15,
        "two_joints",
    )
    table = pq.read_table(video / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["episode_success"] for row in table] == ["success", "failure", "success"]
    assert [row["num_interventions"] for row in table] == [1, 0, 1]
    assert [row["dataset_from_index"] for row in table[1:]] == [
        row["dataset_to_index"] for row in table[:-1]
    ]
    assert info["total_frames"] == table[-1]["dataset_to_index"]
    tasks = pq.read_table(video / "meta/tasks.parquet").to_pylist()
    assert [t["task"] for t in tasks] == ["lift the cube", "turn it"]
    takeovers = [
        json.loads(line)
        for line in (video / "meta/levine/interventions.jsonl").read_text().splitlines()
    ]
    assert [t["episode_index"] for t in takeovers] == [0, 2]
    assert {t["reason"] for t in takeovers} == {"operator: takeover"}
    assert {t["trigger"] for t in takeovers} == {"human"}
    stats = json.loads((video / "meta/stats.json").read_text())
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", "meta/levine/sha256sums.txt"], cwd=video, check=False
    )
    assert checked.returncode == 0


def test_the_card_tells_what_is_known_and_asks_for_the_rest(video):
    text = (video / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert "LeRobot" in header["tags"]
    assert header["task_categories"] == ["robotics"]
    assert "A person took over 2 times" in text
    assert text.count("**TODO:**") >= 12
    for title in ("Motivation", "Composition", "Collection process", "Uses", "Maintenance"):
        assert f"## {title}" in text


ENCODED = ("episodes.jsonl", "sha256sums.txt")
"""Files with hashes of videos, which an encoder does not write alike on every machine."""


def content(out: Path) -> dict[str, bytes]:
    """Every file by name; of videos and their hashes the names alone."""
    return {
        str(p.relative_to(out)): b"" if p.suffix == ".mp4" or p.name in ENCODED else p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file()
    }


def test_new_episodes_are_added_and_nothing_else_is_touched(recordings, video, tmp_path):
    out = tmp_path / "lifting"
    assert export(out, recordings / "s0", recordings / "s1")["added"] == 2
    kept = out / "videos/observation.images.front/chunk-000/file-001.mp4"
    before = kept.stat().st_ino
    found = export(out, recordings / "s2")
    assert (found["episodes"], found["added"]) == (3, 1)
    assert kept.stat().st_ino == before
    # The same as if all had been exported at once.
    assert content(out) == content(video)
    inode = out.stat().st_ino
    assert export(out, recordings)["added"] == 0
    assert out.stat().st_ino == inode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lifting", "lifting.json"]


def test_an_episode_that_was_judged_anew_is_written_anew(tmp_path):
    root = write_episodes(
        tmp_path / "r", robot_file(tmp_path), Script(seconds=1.0, takeover_s=None)
    )
    export(tmp_path / "out", root)
    path = next(root.glob("s0/*/episode.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "outcome": "failure"}))
    assert export(tmp_path / "out", root)["added"] == 1
    assert not any(row["next.success"] for row in rows_of(tmp_path / "out", 0))


def test_a_killed_export_goes_on(recordings, video, tmp_path):
    out = tmp_path / "lifting"
    records = tmp_path / "lifting.partial/meta/levine/episodes.jsonl"
    command = [sys.executable, "-m", "levine_policy_node.cli.main", "record", "export"]
    running = subprocess.Popen([*command, str(recordings), "--out", str(out)])
    deadline = time.monotonic() + 60
    while not (records.exists() and records.read_bytes().count(b"\n")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.01)
        assert running.returncode is None
        assert time.monotonic() < deadline
    os.kill(running.pid, signal.SIGKILL)
    running.wait(10)
    left = len(records.read_text().splitlines()) if records.exists() else 3
    assert out.exists() == (not records.exists())
    with records.open("a") as stream:
        stream.write('{"source": "torn')
    found = export(out, recordings)
    assert (found["episodes"], found["added"]) == (3, 3 - left)
    assert content(out) == content(video)


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_crash_while_it_is_put_in_place_loses_nothing(moment, recordings, video, tmp_path):
    out = tmp_path / "lifting"
    export(out, recordings / "s0")
    previous = tmp_path / "lifting.previous"
    if moment == "between":
        out.rename(previous)
    elif moment == "after":
        previous.mkdir()
        (previous / "old").write_text("")
    assert export(out, recordings)["added"] == 2
    assert content(out) == content(video)
    assert not previous.exists()


def test_frames_in_which_nobody_drives_are_left_out_unless_asked_for(tmp_path):
    root = write_episodes(tmp_path / "r", robot_file(tmp_path), Script(pause_s=(1.0, 1.6)))
    export(tmp_path / "driven", root)
    export(tmp_path / "all", root, "--all-rows")
    driven, everything = rows_of(tmp_path / "driven", 0), rows_of(tmp_path / "all", 0)
    assert 6 <= len(everything) - len(driven) <= 10
    assert set(column(driven, "complementary_info.phase")) == {0}
    assert 2 in column(everything, "complementary_info.phase")
    segments = column(driven, "complementary_info.segment")
    gaps = np.diff(column(driven, "complementary_info.stamp_ns")) > 1e8
    assert np.diff(segments).tolist() == gaps.astype(int).tolist()
    assert segments[-1] == 1


def test_rewards_that_were_given_are_none_lost(tmp_path):
    rewards = ((0.01, 0.5), (0.7, -1.0), (0.71, 0.25), (1.2, 2.0), (2.99, 4.0))
    script = Script(pause_s=(1.0, 1.6), rewards=rewards)
    export(tmp_path / "out", write_episodes(tmp_path / "r", robot_file(tmp_path), script))
    found = column(rows_of(tmp_path / "out", 0), "next.reward")
    assert found.sum() == 5.75
    assert set(found) == {0.0, 0.5, -0.75, 2.0, 4.0}
    assert found[-1] == 4.0


def test_one_damaged_recording_does_not_stop_the_others(tmp_path):
    short = Script(seconds=1.0, takeover_s=None)
    root = write_episodes(tmp_path / "r", robot_file(tmp_path), short, short)
    next(root.glob("s0/*/*.mcap")).write_bytes(b"nothing")
    found = export(tmp_path / "out", root)
    assert found["episodes"] == 1
    assert "s0/ep_000000" in found["left_out"]


def test_two_exports_at_once_are_refused(recordings, tmp_path, capsys):
    with reserved(tmp_path / "out"):
        assert main(["record", "export", str(recordings), "--out", str(tmp_path / "out")]) == 2
    assert "another export writes it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_episodes_that_do_not_belong_are_left_out_with_the_reason(recordings, tmp_path, capsys):
    found = export(tmp_path / "out", recordings, "--outcome", "success")
    assert found["episodes"] == 2
    assert found["left_out"] == {"s1/ep_000000": "outcome failure"}
    assert "left out s1/ep_000000: outcome failure" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        ({}, ["--fps", "10"], "fps is 15, not fps 10. Use what it was begun with"),
        ({}, ["--camera", "nose"], "'nose' is not known"),
        ({}, ["--size", "big"], "'big'; expected such as 128x96"),
        ({}, ["--fps", "0"], "expected 1 or more"),
        ({"README.md": "mine"}, [], "not a data set of this program"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    change, arguments, told, recordings, video, tmp_path, capsys
):
    out = tmp_path / "out"
    if change:
        out.mkdir()
        for name, text in change.items():
            (out / name).write_text(text)
    else:
        export(out, recordings / "s0")
    words = ["record", "export", str(recordings / "s0"), "--out", str(out), *arguments]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_nothing_there_is_one_clear_line(tmp_path, capsys):
    assert main(["record", "export", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no episode. Give a session's directory" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(recordings, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["record", "export", str(recordings), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'levine_policy_node[export]'" in capsys.readouterr().err


def test_the_limits_are_those_of_the_executor():
    path = Path(__file__).parents[2] / "config/policy_executor.param.yaml"
    values = yaml.safe_load(path.read_text())["/**/policy_executor"]["ros__parameters"]
    assert values["camera_max_age_s"] == CAMERA_MAX_AGE_S
    assert values["joint_max_age_s"] == JOINT_MAX_AGE_S
    assert values["frozen_motion_rad"] == FROZEN_MOTION_RAD


def test_pictures_of_another_size(recordings, tmp_path):
    export(tmp_path / "out", recordings / "s0", "--size", "24x15", "--camera", "wrist")
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    pictures = {k: f for k, f in info["features"].items() if f["dtype"] == "video"}
    assert list(pictures) == ["observation.images.wrist"]
    feature = pictures["observation.images.wrist"]
    assert feature["shape"] == [15, 24, 3]
    assert feature["info"]["video.pix_fmt"] == "yuv444p"
    path = tmp_path / "out/videos/observation.images.wrist/chunk-000/file-000.mp4"
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).to_ndarray(format="rgb24").shape == (15, 24, 3)


def test_fixture_pictures_tell_their_number():
    assert all(number_of(frame(n, 3)) == n for n in range(60))

# SPDX-License-Identifier: Apache-2.0
"""`levine replay`: what is equal is said to be, and what stands in the way is told."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import written_episode as wire
from bundle_factory import CAMERAS, document, ramp_model, write_bundle
from hypothesis import given
from hypothesis import strategies as st
from written_episode import START_NS, WrittenEpisode

from levine_policy_node.cli.main import EXIT_OK, EXIT_USAGE, main
from levine_policy_node.core.alignment import joint_samples, observation_of
from levine_policy_node.core.history import History
from levine_policy_node.core.inference_record import (
    InferenceRecord,
    inference_text,
    pixel_digest,
    seen_moment,
)
from levine_policy_node.core.observation import Frame, JointSample
from levine_policy_node.core.units import StampNs
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.mcap_writer import RecordedMessage, RecordedTopic
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.preroll import Preroll

MS = 1_000_000
ROBOT = load_robot("sim_so101")
INFERENCES = 4


@pytest.fixture
def ramp(tmp_path) -> Path:
    return write_bundle(tmp_path / "ramp")


def recorded(
    root: Path,
    bundle: Path,
    jpeg_quality: int | None = None,
    *,
    without: Collection[str] = (),
    numbers: Collection[int] = range(INFERENCES),
    robot_sha256: str = ROBOT.sha256,
) -> Path:
    """An episode of a policy, as executor and recorder would leave it."""
    root.mkdir(exist_ok=True)
    episode = WrittenEpisode(root, jpeg_quality, robot_sha256=robot_sha256)
    rng = np.random.default_rng(0)
    policy = OnnxPolicy(load_bundle(bundle), ROBOT)
    states = [
        JointSample(StampNs(START_NS + i * 10 * MS), 0.1 * rng.standard_normal(6))
        for i in range(120)
    ]
    for state in states:
        message = wire.joint_state(state.stamp_ns, ROBOT.joint_names, state.positions)
        episode.put("joint_states", message, state.stamp_ns + MS)

    def put(name: str, message, log_ns: int) -> None:
        if name not in without:
            episode.put(name, message, log_ns)

    for number in range(INFERENCES):
        stamp_ns = StampNs(START_NS + (205 + 200 * number) * MS)
        frames = {}
        for camera in CAMERAS:
            pixels = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            frames[camera] = Frame(stamp_ns, pixels)
            put(f"camera/{camera}/image", wire.image(stamp_ns, pixels), stamp_ns + 2 * MS)
        samples = joint_samples(History(tuple(states)), stamp_ns, 0.1)
        observation = observation_of(stamp_ns, frames, samples)
        chunk = policy.infer(observation)
        if number not in numbers:
            continue
        tag = f"{chunk.source}#2"
        times_s = chunk.dt_s * np.arange(1, len(chunk.positions) + 1)
        rows = wire.trajectory(stamp_ns, chunk.joint_names, times_s, chunk.positions, tag)
        put("policy/raw_chunk", rows, stamp_ns + 9 * MS)
        seen = seen_moment(observation, lambda _, __, pixels: pixel_digest(pixels))
        text = inference_text(InferenceRecord(tag, 2, number, ROBOT.joint_names, seen))
        put("policy/inference", wire.string(text), stamp_ns + 9 * MS)
    policy.close()
    return episode.end()


def replayed(episode: Path, bundle: Path, *more: str) -> dict:
    out = episode.with_name("replay.json")
    command = ["replay", str(episode), "--policy", str(bundle), "--no-trial", *more]
    assert main([*command, "--json", str(out)]) == EXIT_OK
    return json.loads(out.read_text())


def test_the_original_bundle_says_the_same_bit_for_bit(tmp_path, ramp, capsys):
    picture = tmp_path / "replay.png"
    found = replayed(recorded(tmp_path / "s", ramp), ramp, "--plot", str(picture))
    assert found["inferences"] == found["compared"] == found["bit_exact"] == INFERENCES
    assert found["observations_exact"] == INFERENCES
    assert all(joint == {"largest": 0.0, "rms": 0.0} for joint in found["joints"].values())
    printed = capsys.readouterr().out
    assert "4 of 4 are equal bit for bit" in printed
    assert "(the one that was recorded)" in printed
    assert picture.stat().st_size > 10_000


def test_another_policy_differs_where_it_says_something_else(tmp_path, ramp):
    other = write_bundle(tmp_path / "steeper", graph=ramp_model(step=0.02))
    found = replayed(recorded(tmp_path / "s", ramp), other)
    assert (found["original"], found["bit_exact"], found["compared"]) == (0, 0, INFERENCES)
    # Row i of the ramp is 0.01 (i + 1), of the other 0.02 (i + 1).
    assert found["joints"]["shoulder_pan"]["largest"] == pytest.approx(0.08, abs=1e-6)


def test_rows_at_other_times_are_compared_at_the_recorded_ones(tmp_path, ramp):
    # Half as steep per row and twice as many per second is the same motion.
    changes = document(rate=20, chunk={"size": 8, "execute": 4})
    finer = write_bundle(tmp_path / "finer", changes, ramp_model(step=0.005))
    found = replayed(recorded(tmp_path / "s", ramp), finer)
    assert found["compared"] == INFERENCES
    assert found["joints"]["shoulder_pan"]["largest"] == pytest.approx(0.0, abs=1e-6)


def test_images_that_are_copies_are_told(tmp_path, ramp, capsys):
    found = replayed(recorded(tmp_path / "s", ramp, jpeg_quality=95), ramp)
    assert found["observations_exact"] == 0
    assert found["unlike"] == {"camera front": INFERENCES, "camera wrist": INFERENCES}
    assert found["images_as_seen"] == {"front": False, "wrist": False}
    assert "record with image_format: raw" in capsys.readouterr().out
    # Only the gripper depends on the images here, and on their mean.
    assert found["joints"]["shoulder_pan"]["largest"] == 0.0
    assert 0.0 < found["joints"]["gripper"]["largest"] < 0.05


def test_an_inference_that_is_missing_is_told(tmp_path, ramp):
    found = replayed(recorded(tmp_path / "s", ramp, numbers=(0, 2, 3)), ramp)
    assert [one["in_sequence"] for one in found["each"]] == [True, False, False]
    # This policy remembers nothing, so what it says is the same nevertheless.
    assert found["bit_exact"] == 3


def test_an_image_that_is_missing_is_told_for_each_inference(tmp_path, ramp):
    found = replayed(recorded(tmp_path / "s", ramp, without=["camera/wrist/image"]), ramp)
    assert found["compared"] == 0
    [(problem, count)] = found["problems"].items()
    assert (problem, count) == (
        "camera wrist: the image that was seen was not recorded",
        INFERENCES,
    )


def test_without_records_of_inferences_the_streams_are_aligned_again(tmp_path, ramp):
    found = replayed(recorded(tmp_path / "s", ramp, without=["policy/inference"]), ramp)
    # Nothing was missed here, so the streams had what the policy saw.
    assert (found["observations"], found["bit_exact"]) == (0, INFERENCES)


def test_what_cannot_be_replayed_is_refused_in_one_line(tmp_path, ramp, capsys):
    nothing = recorded(tmp_path / "s", ramp, without=["policy/inference", "policy/raw_chunk"])
    assert main(["replay", str(nothing), "--policy", str(ramp), "--no-trial"]) == EXIT_USAGE
    assert "there is nothing to replay" in capsys.readouterr().err
    elsewhere = tmp_path / "t"
    elsewhere.mkdir()
    foreign = WrittenEpisode(elsewhere, robot="nobody's")
    assert main(["replay", str(foreign.end()), "--policy", str(ramp)]) == EXIT_USAGE
    assert "--robot FILE" in capsys.readouterr().err


def test_another_robot_file_is_pointed_out(tmp_path, ramp, capsys):
    replayed(recorded(tmp_path / "s", ramp, robot_sha256="f" * 64), ramp)
    assert "the robot file this was recorded with" in capsys.readouterr().out


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from("abc"), st.integers(0, 60)), max_size=40
    ),
    st.integers(0, 300),
)
def test_the_preroll_is_bounded_and_has_the_last_of_every_topic(received, capacity):
    preroll, now_ms = Preroll(capacity), 0
    put: list[RecordedMessage] = []
    for step_ms, name, size in received:
        now_ms += step_ms
        topic = RecordedTopic(name, "sensor_msgs/msg/JointState")
        put.append(RecordedMessage(topic, now_ms * MS, now_ms * MS - 5, bytes(size)))
        preroll.add(put[-1])
    taken = list(preroll.take(now_ms * MS))
    assert list(preroll.take(now_ms * MS)) == []
    assert [m.log_ns for m in taken] == sorted(m.log_ns for m in taken)
    assert all(m.log_ns >= (now_ms - 500) * MS for m in taken)
    last = {message.topic.name: message for message in put}
    for name, message in last.items():
        kept = [m for m in taken if m.topic.name == name]
        assert (kept[-1].data, kept[-1].publish_ns) == (message.data, message.publish_ns)
    # Besides one of each topic, no more than there is room for.
    others = [m for m in taken if all(m.publish_ns != last[n].publish_ns for n in last)]
    assert sum(len(m.data) for m in others) <= capacity

# SPDX-License-Identifier: Apache-2.0
"""Episodes are read back as they were written, and what is none is refused in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import written_episode as wire
from hypothesis import given, settings
from hypothesis import strategies as st
from written_episode import START_NS, WrittenEpisode

from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.inference_record import (
    InferenceRecord,
    SeenFrame,
    SeenMoment,
    inference_text,
    read_inference,
)
from levine_policy_node.core.observation import Goal
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import RecordingError
from levine_policy_node.robot import CameraStream
from levine_policy_node.runtime.episode_reader import read_episode
from levine_policy_node.runtime.mcap_recovery import repair_mcap

NAMES = ("pan", "lift")
TAG = "policy:pick@0123abcd#1"
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
FRONT = CameraStream(topic="camera/front/image")


def written(tmp_path: Path, **options) -> Path:
    episode = WrittenEpisode(tmp_path, **options)
    for i in range(20):
        stamp_ns = START_NS + i * 10_000_000
        received_ns = stamp_ns + 1_000_000
        state = wire.joint_state(stamp_ns, NAMES, (i, -i), (0.5, 0.25))
        episode.put("joint_states", state, received_ns)
        command = wire.joint_state(stamp_ns, NAMES, (i, -i), frame_id=TAG)
        episode.put("supervisor/command", command, received_ns)
        episode.put("camera/front/image", wire.image(stamp_ns, PIXELS + i), received_ns)
    half = wire.joint_state(START_NS, NAMES[:1], (7.0,))
    episode.put("operator/target", half, START_NS)
    chunk = wire.trajectory(START_NS, NAMES, (0.1, 0.2), [(1.0, 2.0), (3.0, 4.0)], TAG)
    episode.put("policy/raw_chunk", chunk, START_NS + 5)
    episode.put("supervisor/mode", wire.string("POLICY"), START_NS, START_NS - 9)
    episode.put("task", wire.string("put the cube away"), START_NS)
    return episode.end()


def test_streams_are_what_was_written(tmp_path):
    episode = read_episode(written(tmp_path))
    assert (len(episode.joint_states), len(episode.commands)) == (20, 20)
    samples = episode.joint_states.samples(NAMES[::-1])
    assert samples[3].stamp_ns == START_NS + 30_000_000
    assert samples[3].log_ns == START_NS + 31_000_000
    assert samples[3].value.positions.tolist() == [-3.0, 3.0]
    assert samples[3].value.velocities.tolist() == [0.25, 0.5]
    track = episode.commands.track(NAMES)
    assert track.sources == (TAG,) * 20
    assert track.position[:, 0].tolist() == list(range(20))
    assert np.isnan(track.velocity).all()
    # The executor would drop a message without some joint; a track shows what it says.
    assert episode.operator_targets.samples(NAMES) == ()
    target = episode.operator_targets.track(NAMES)
    assert target.position[0, 0] == 7.0
    assert np.isnan(target.position[0, 1])
    [chunk] = episode.raw_chunks
    assert (chunk.stamp_ns, chunk.value.header.frame_id) == (START_NS, TAG)
    assert chunk.value.positions.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert chunk.value.times_s.tolist() == [0.1, 0.2]
    assert chunk.value.efforts.shape == (2, 0)
    [mode] = episode.modes
    assert (mode.value, mode.log_ns, mode.stamp_ns) == ("POLICY", START_NS, START_NS - 9)
    assert [task.value for task in episode.tasks] == ["put the cube away"]
    assert episode.metadata["session"] == "s"
    assert episode.document["state"] == "closed"
    assert episode.duration_s == pytest.approx(0.191)


@pytest.mark.parametrize("namespace", ["", "/lab/left"])
def test_raw_images_are_equal_to_the_pixel(tmp_path, namespace):
    episode = read_episode(written(tmp_path, namespace=namespace))
    stream, exact = episode.camera("front", FRONT)
    assert exact
    assert stream.topic == f"{namespace}/camera/front/image"
    for i in (19, 0, 7):
        assert np.array_equal(stream.pixels(i), PIXELS + i)
    assert stream.stamp_ns[2] == START_NS + 20_000_000
    assert stream.log_ns[2] == START_NS + 21_000_000


def test_what_the_recorder_made_jpeg_of_is_not_what_the_policy_saw(tmp_path):
    episode = read_episode(written(tmp_path, jpeg_quality=95))
    stream, exact = episode.camera("front", FRONT)
    assert not exact
    assert stream.topic == "/camera/front/image/compressed"
    assert stream.pixels(0).shape == PIXELS.shape
    assert stream.encoded(0)[:2] == b"\xff\xd8"


def test_a_camera_that_publishes_jpeg_is_what_the_policy_saw(tmp_path):
    _, encoded = cv2.imencode(".jpg", PIXELS[:, :, ::-1])
    episode = WrittenEpisode(tmp_path)
    message = wire.compressed(START_NS, encoded)
    episode.put("camera/front/image/compressed", message, START_NS)
    camera = CameraStream(topic="camera/front/image/compressed", compressed=True)
    stream, exact = read_episode(episode.end()).camera("front", camera)
    assert exact
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.array_equal(stream.pixels(0), decoded)


def test_what_was_not_recorded_is_empty(tmp_path):
    episode = read_episode(WrittenEpisode(tmp_path).end())
    assert len(episode.joint_states) == 0
    assert episode.joint_states.track(NAMES).position.shape == (0, 2)
    assert episode.raw_chunks == episode.inferences == episode.modes == episode.events == ()
    assert episode.camera("front", FRONT) is None
    assert episode.duration_s == 0.0


def test_an_episode_that_is_open_says_how_to_repair_it(tmp_path):
    episode = WrittenEpisode(tmp_path)
    episode.put("task", wire.string("x"), START_NS)
    with pytest.raises(RecordingError, match=r"was not closed.*levine record recover"):
        read_episode(episode.open_file)
    episode.end()


@settings(max_examples=30)
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path_factory, data):
    whole = written(tmp_path_factory.mktemp("cut")).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.mktemp("cut") / "ep.mcap"
    path.write_bytes(whole[:at])
    with pytest.raises(RecordingError) as caught:
        read_episode(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not an mcap at all, but text", b"\x00" * 5000])
def test_what_is_no_mcap_is_said(tmp_path, content):
    path = tmp_path / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="not an MCAP"):
        read_episode(path)
    with pytest.raises(RecordingError, match="cannot be read"):
        read_episode(tmp_path / "none.mcap")
    with pytest.raises(RecordingError, match="is a directory"):
        read_episode(tmp_path)


def test_a_damaged_chunk_is_noticed_and_what_a_repair_leaves_is_read(tmp_path):
    episode = WrittenEpisode(tmp_path)
    for i in range(3):
        for k in range(12):  # more than a chunk holds
            stamp_ns = START_NS + (i * 12 + k) * 10_000_000
            wide = np.tile(PIXELS + k, (8, 8, 1))
            episode.put("camera/front/image", wire.image(stamp_ns, wide), stamp_ns)
    path = episode.end()
    content = bytearray(path.read_bytes())
    at = content.index(np.tile(PIXELS + 9, (8, 8, 1)).tobytes()[:64])
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"damaged.*crc"):
        read_episode(path)
    assert repair_mcap(path).changed
    stream, _ = read_episode(path).camera("front", FRONT)
    assert 0 < len(stream) < 36
    for i, stamp_ns in enumerate(stream.stamp_ns):
        k = (int(stamp_ns) - START_NS) // 10_000_000 % 12
        assert np.array_equal(stream.pixels(i), np.tile(PIXELS + k, (8, 8, 1)))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
STAMPS = st.integers(0, 2**62).map(StampNs)


@st.composite
def moments(draw):
    joints = st.lists(FLOATS, min_size=2, max_size=2).map(np.array)
    frames = st.dictionaries(st.text(), st.builds(SeenFrame, STAMPS, st.text()), max_size=2)
    return SeenMoment(
        draw(STAMPS),
        draw(st.sampled_from([(StampNs(5),), (StampNs(5), StampNs(2**61 + 1))])),
        draw(joints),
        draw(st.none() | joints),
        draw(frames),
    )


@given(
    seen=moments(),
    past=st.lists(moments(), max_size=2),
    task=st.text(),
    goal=st.none()
    | st.builds(Goal, st.text(), st.lists(FLOATS, min_size=3, max_size=3).map(np.array)),
    rows=st.none() | st.lists(st.lists(FLOATS, min_size=2, max_size=2), min_size=1, max_size=3),
)
def test_what_an_inference_saw_is_read_back_bit_for_bit(seen, past, task, goal, rows):
    prefix = None if rows is None else ActionPrefix(np.array(rows), 1)
    record = InferenceRecord(
        TAG, 3, 7, NAMES, seen, tuple(past), task, goal, prefix, {"front": 0.012}, StampNs(9), 0.25
    )
    found = read_inference(inference_text(record))
    assert inference_text(found) == inference_text(record)
    for before, after in zip((seen, *past), (found.seen, *found.past), strict=True):
        assert before.positions.tobytes() == after.positions.tobytes()
        assert (before.stamp_ns, before.joints_ns) == (after.stamp_ns, after.joints_ns)
        assert before.frames == after.frames
    if prefix is not None:
        assert found.prefix.rows.tobytes() == prefix.rows.tobytes()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version":99}', '{"version":1}', "3"])
def test_another_text_is_no_inference(text):
    with pytest.raises(ValueError, match=r"."):
        read_inference(text)

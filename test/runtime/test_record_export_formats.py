# SPDX-License-Identifier: Apache-2.0
"""robomimic and RLDS exports, read back by other libraries than those that wrote them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import google_crc32c
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from taken_over_episode import Script, number_of, robot_file, write_episodes

from levine_policy_node.cli.main import main
from levine_policy_node.runtime.export.tf_record import example_bytes, record_bytes

SCRIPTS = (
    Script(seconds=2.0, takeover_s=0.82, handback_s=1.42),
    Script(seconds=1.0, takeover_s=None, outcome="failure", task="turn it", seed=1),
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    return write_episodes(root, robot_file(tmp_path_factory.mktemp("robot")), *SCRIPTS)


def export(recordings: Path, out: Path, kind: str) -> Path:
    words = ["record", "export", str(recordings), "--out", str(out), "--format", kind]
    assert main(words) == 0
    return out


@pytest.fixture(scope="module")
def rows(recordings, tmp_path_factory) -> list[list[dict]]:
    """The same episodes as LeRobot has them."""
    out = tmp_path_factory.mktemp("lerobot") / "out"
    words = ["record", "export", str(recordings), "--out", str(out), "--images", "image"]
    assert main(words) == 0
    files = [out / f"data/chunk-000/file-{e:03d}.parquet" for e in range(2)]
    return [pq.read_table(file).to_pylist() for file in files]


def column(rows: list[dict], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def test_robomimic(recordings, rows, tmp_path):
    out = export(recordings, tmp_path / "out", "robomimic")
    with h5py.File(out / "dataset.hdf5") as file:
        data = file["data"]
        assert data.attrs["total"] == sum(len(episode) for episode in rows)
        assert set(json.loads(data.attrs["env_args"])) == {"env_name", "env_type", "env_kwargs"}
        assert list(file["mask/success"]) == [b"demo_0"]
        assert list(file["mask/failure"]) == [b"demo_1"]
        assert list(file["mask/intervened"]) == [b"demo_0"]
        for number, episode in enumerate(rows):
            demo = data[f"demo_{number}"]
            assert demo.attrs["num_samples"] == len(episode)
            np.testing.assert_array_equal(demo["actions"], column(episode, "action"))
            np.testing.assert_array_equal(
                demo["obs/joint_pos"], column(episode, "observation.state")
            )
            np.testing.assert_array_equal(
                demo["next_obs/joint_pos"][:-1], demo["obs/joint_pos"][1:]
            )
            labels = column(episode, "complementary_info.intv_label")
            np.testing.assert_array_equal(demo["intv_labels"], labels)
            np.testing.assert_array_equal(demo["action_modes"], np.where(labels == -10, 0, labels))
            assert demo["dones"][-1] == 1
            for k in (0, len(episode) - 1):
                stored = episode[k]["observation.images.wrist"]["bytes"]
                np.testing.assert_array_equal(demo["obs/wrist_image"][k], picture(stored))
    assert set(labels[:-1]) == {0}


def picture(encoded: bytes) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def example_class():
    """tf.train.Example, as its .proto files say it, for Google's protobuf."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, kind in (("Bytes", kinds.TYPE_BYTES), ("Floats", kinds.TYPE_FLOAT),
                       ("Ints", kinds.TYPE_INT64)):  # fmt: skip
        message = file.message_type.add(name=name)
        message.field.add(name="value", number=1, label=kinds.LABEL_REPEATED, type=kind)
    feature = file.message_type.add(name="Feature")
    for number, (name, kind) in enumerate(
        (("bytes_list", "Bytes"), ("float_list", "Floats"), ("int64_list", "Ints")), 1
    ):
        feature.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL,
                          type=kinds.TYPE_MESSAGE, type_name=f".t.{kind}")  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
    entry.field.add(name="value", number=2, label=kinds.LABEL_OPTIONAL,
                    type=kinds.TYPE_MESSAGE, type_name=".t.Feature")  # fmt: skip
    features.field.add(name="feature", number=1, label=kinds.LABEL_REPEATED,
                       type=kinds.TYPE_MESSAGE, type_name=".t.Features.FeatureEntry")  # fmt: skip
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, label=kinds.LABEL_OPTIONAL,
                      type=kinds.TYPE_MESSAGE, type_name=".t.Features")  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


Example = example_class()


def unmasked(crc: int) -> int:
    rotated = (crc - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def only_record(data: bytes) -> bytes:
    """What is in a TFRecord file of one record; both checksums are checked."""
    (length,) = struct.unpack_from("<Q", data)
    (first,) = struct.unpack_from("<I", data, 8)
    (second,) = struct.unpack_from("<I", data, 12 + length)
    content = data[12 : 12 + length]
    assert len(data) == 16 + length
    assert unmasked(first) == google_crc32c.value(data[:8])
    assert unmasked(second) == google_crc32c.value(content)
    return content


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.one_of(
            st.lists(st.binary(max_size=20), max_size=5),
            st.lists(st.floats(width=32, allow_nan=False), max_size=5).map(
                lambda values: np.array(values, np.float32)
            ),
            st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(
                lambda values: np.array(values, np.int64)
            ),
        ),
        max_size=5,
    )
)
def test_any_example_is_read_back_by_protobuf(features):
    parsed = Example.FromString(only_record(record_bytes(example_bytes(features))))
    assert set(parsed.features.feature) == set(features)
    for name, values in features.items():
        found = parsed.features.feature[name]
        if isinstance(values, list):
            assert list(found.bytes_list.value) == values
        elif values.dtype == np.float32:
            assert list(found.float_list.value) == values.tolist()
        else:
            assert list(found.int64_list.value) == values.tolist()


def test_rlds(recordings, rows, tmp_path):
    out = export(recordings, tmp_path / "lifting", "rlds") / "1.0.0"
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "dataset_info.json",
        "features.json",
        "lifting-train.tfrecord-00000-of-00002",
        "lifting-train.tfrecord-00001-of-00002",
    ]
    info = json.loads((out / "dataset_info.json").read_text())
    assert info["splits"][0]["shardLengths"] == ["1", "1"]
    described = json.loads((out / "features.json").read_text())["featuresDict"]["features"]
    step = described["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    for number, episode in enumerate(rows):
        data = (out / names[2 + number]).read_bytes()
        found = Example.FromString(only_record(data)).features.feature
        observed = step["observation"]["featuresDict"]["features"]
        assert set(found) == {
            *(f"steps/{name}" for name in step if name != "observation"),
            *(f"steps/observation/{name}" for name in observed),
            "episode_metadata/file_path",
            "episode_metadata/outcome",
        }
        actions = np.array(found["steps/action"].float_list.value, np.float32).reshape(-1, 2)
        np.testing.assert_array_equal(actions, column(episode, "action").astype(np.float32))
        assert found["steps/is_first"].int64_list.value[:2] == [1, 0]
        assert found["steps/is_last"].int64_list.value[-1] == 1
        words = {w.decode() for w in found["steps/language_instruction"].bytes_list.value}
        assert words == {SCRIPTS[number].task}
        encoded = found["steps/observation/front"].bytes_list.value
        assert len(encoded) == len(episode)
        stored = [number_of(picture(e["observation.images.front"]["bytes"])) for e in episode]
        assert [number_of(picture(e)) for e in encoded] == stored


@pytest.mark.parametrize("kind", ["robomimic", "rlds"])
def test_episodes_are_added_as_if_all_had_been_there(kind, recordings, tmp_path):
    out, whole = tmp_path / "part" / "lifting", tmp_path / "whole" / "lifting"
    export(recordings / "s0", out, kind)
    export(recordings, out, kind)
    export(recordings, whole, kind)
    files = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    for file in files:
        if file.suffix == ".hdf5" or file.name == "sha256sums.txt":
            continue  # HDF5 files with equal content differ in where it lies
        assert (out / file).read_bytes() == (whole / file).read_bytes(), file
    inode = out.stat().st_ino
    export(recordings, out, kind)
    assert out.stat().st_ino == inode


def test_a_name_that_rlds_cannot_have_is_one_clear_line(recordings, tmp_path, capsys):
    words = ["record", "export", str(recordings), "--out", str(tmp_path / "1-a")]
    assert main([*words, "--format", "rlds"]) == 2
    assert "'1-a' is no name that RLDS allows" in capsys.readouterr().err

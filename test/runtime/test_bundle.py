# SPDX-License-Identifier: Apache-2.0
"""Bundles: what is accepted, what is refused, and that every refusal is one clear line."""

from __future__ import annotations

import hashlib
import os
import string

import numpy as np
import pytest
import yaml
from bundle_factory import JOINTS, ROWS, document, ramp_model, write_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle, shipped_policies
from levine_policy_node.runtime.bundle_document import read_document

STATE = "observations__observation.state"
FRONT = "observations__observation.images.front"


@pytest.fixture(scope="module")
def robot():
    return load_robot("sim_so101")


def refusal(directory) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_a_good_bundle_is_read_and_hashed(tmp_path, robot):
    bundle = load_bundle(write_bundle(tmp_path / "ramp"))
    bundle.check_robot(robot)
    assert bundle.name == "ramp"
    assert bundle.cameras == ("front", "wrist")
    assert bundle.source == f"policy:ramp@{bundle.sha256[:8]}"
    assert bundle.replan_s == pytest.approx(0.2)
    assert bundle.files["policy.onnx"] == ramp_model()


def test_the_hash_covers_document_and_files(tmp_path):
    same = [load_bundle(write_bundle(tmp_path / name)) for name in ("a", "b")]
    assert same[0].sha256 == same[1].sha256
    other = load_bundle(write_bundle(tmp_path / "c", document(rate=11)))
    graph = load_bundle(write_bundle(tmp_path / "d", graph=ramp_model(0.02)))
    assert len({same[0].sha256, other.sha256, graph.sha256}) == 3


def test_the_hash_may_stand_beside_the_graph(tmp_path):
    digest = hashlib.sha256(ramp_model()).hexdigest()
    described = document(graphs={"step": {"file": "policy.onnx", "sha256": digest}})
    described["files"] = {}
    assert load_bundle(write_bundle(tmp_path / "x", described)).name == "ramp"


def test_a_missing_bundle_lists_the_ones_that_ship(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert "no such bundle" in message
    for name in shipped_policies():
        assert name in message


def test_every_bundle_that_ships_loads_and_fits_its_robot(robot):
    for name in shipped_policies():
        bundle = load_bundle(name)
        assert bundle.name == name
        bundle.check_robot(robot)


DOCUMENTS = {
    "unknown field": ({"colour": "red"}, "colour: is not a field"),
    "typo of a field": ({"chunk": {"size": ROWS, "exekute": 2}}, "exekute: is not a field"),
    "missing field": ({"rate": None}, "rate: is missing. Add the field"),
    "other version": ({"version": "2.0"}, "supported: '1.1'"),
    "text for a number": ({"rate": "fast"}, "rate: Input should be a valid number"),
    "rate of zero": ({"rate": 0}, "rate: Input should be greater than 0"),
    "infinite rate": ({"rate": float("inf")}, "rate: Input should be a finite number"),
    "unknown decoder": ({"decoder__type": "wavelet"}, "'wavelet' is not supported"),
    "unknown observation": ({f"{STATE}__kind": "state/wrench"}, "'state/wrench' is not supported"),
    "no kind": ({STATE: {"names": ["a"]}}, "give 'terms' or a 'kind'"),
    "unknown action": ({"action__parts": [{"kind": "target/body/twist"}]}, "is not supported"),
    "unknown mode": (
        {"action__parts": [{"kind": "target/joint/position", "names": ["a"], "mode": "diff"}]},
        "'diff' is not supported",
    ),
    "a joint twice": ({f"{STATE}__names": ["a", "a"]}, "a name is given twice"),
    "no joints": ({f"{STATE}__names": []}, "names"),
    "scale of another length": ({f"{STATE}__scale": [1.0, 2.0]}, "scale: 2 values for 6 names"),
    "crop larger than size": ({f"{FRONT}__image__crop": [9, 9]}, "crop is larger than size"),
    "odd crop": ({f"{FRONT}__image__crop": [1, 2, 3]}, "give an area fraction"),
    "empty size": ({f"{FRONT}__image__size": [0, 8]}, "size"),
    "mean without std": ({f"{FRONT}__image__mean": [0.5, 0.5, 0.5]}, "both mean and std"),
    "uint8 with a range": (
        {f"{FRONT}__image": {"size": [8, 8], "dtype": "uint8", "range": [0, 1]}},
        "uint8 keeps the camera's values",
    ),
    "more rows than there are": ({"chunk__execute": 9}, "more than size"),
    "statistics missing": ({f"{STATE}__normalize": "mean_std"}, "stats: is missing"),
    "path out of the bundle": ({"graphs__step": "../policy.onnx"}, "inside the bundle"),
    "absolute path": ({"graphs__step": "/etc/passwd"}, "inside the bundle"),
    "file that is not there": ({"graphs__step": "other.onnx"}, "other.onnx: is missing"),
    "name with a slash": ({"name": "../x"}, "name"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_wrong_document_is_refused_in_one_line(tmp_path, case):
    changes, expected = DOCUMENTS[case]
    assert expected in refusal(write_bundle(tmp_path / "bad", document(**changes)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name: [unclosed", "not valid YAML"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"", "expected a mapping"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"a: " + b"[" * 5000, "is nested more than"),
        (b"a: 2001-99-99", "not valid YAML"),
        (b"a: &x 1\nb: [" + b"*x," * 20 + b"]", "YAML aliases"),
        (b"a: " + b"x" * 300_000, "at most"),
    ],
)
def test_a_file_that_is_no_document_is_refused_in_one_line(tmp_path, content, expected):
    directory = write_bundle(tmp_path / "bad")
    (directory / "policy.yaml").write_bytes(content)
    assert expected in refusal(directory)


def test_a_changed_file_is_refused(tmp_path):
    directory = write_bundle(tmp_path / "bad")
    data = bytearray((directory / "policy.onnx").read_bytes())
    data[-1] ^= 1
    (directory / "policy.onnx").write_bytes(bytes(data))
    assert "was changed or damaged" in refusal(directory)


def test_a_file_without_hash_is_refused_with_the_line_to_add(tmp_path):
    described = document()
    described["files"] = {}
    message = refusal(write_bundle(tmp_path / "bad", described))
    assert hashlib.sha256(ramp_model()).hexdigest() in message


@pytest.mark.parametrize("how", ["symbolic", "hard", "directory", "fifo", "through a link"])
def test_links_and_odd_files_are_refused(tmp_path, how):
    directory = write_bundle(tmp_path / "bad")
    graph = directory / "policy.onnx"
    outside = tmp_path / "outside"
    outside.mkdir()
    graph.rename(outside / "policy.onnx")
    if how == "symbolic":
        graph.symlink_to(outside / "policy.onnx")
    elif how == "hard":
        graph.hardlink_to(outside / "policy.onnx")
    elif how == "directory":
        graph.mkdir()
    elif how == "fifo":
        os.mkfifo(graph)
    else:
        (directory / "sub").symlink_to(outside)
        described = yaml.safe_load((directory / "policy.yaml").read_text())
        described["graphs"]["step"] = "sub/policy.onnx"
        described["files"] = {"sub/policy.onnx": described["files"]["policy.onnx"]}
        (directory / "policy.yaml").write_text(yaml.safe_dump(described))
    expected = {
        "symbolic": "symbolic link",
        "hard": "hard link",
        "directory": "not a regular file",
        "fifo": "not a regular file",
        "through a link": "symbolic link",
    }[how]
    assert expected in refusal(directory)


def stats(**changes):
    good = {"mean": [0.0] * 6, "std": [1.0] * 6}
    return {"observation.state": {**good, **changes}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (stats(std=[1.0] * 5), "has shape (5,), expected (6,)"),
        (stats(std=[1.0] * 5 + [0.0]), "has a column without spread"),
        (stats(std="wide"), "is not a list of numbers"),
        (stats(mean=None), "stats.observation.state.mean: is missing"),
        (stats(mean=[float("nan")] * 6), "is not finite"),
        ({"other": {"mean": [0.0]}}, "stats.observation.state.mean: is missing"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(tmp_path, values, expected):
    described = document(stats=values, **{f"{STATE}__normalize": "mean_std"})
    assert expected in refusal(write_bundle(tmp_path / "bad", described))


def test_statistics_may_come_from_safetensors(tmp_path):
    tensors = {
        "action.min": np.full((ROWS, 6), -1.0, np.float32),
        "action.max": np.full((ROWS, 6), 3.0, np.float32),
    }
    described = document(stats="stats.safetensors", action__normalize="min_max")
    directory = write_bundle(
        tmp_path / "good", described, files={"stats.safetensors": save_safetensors(tensors)}
    )
    normalization = load_bundle(directory).normalizations["action"]
    np.testing.assert_allclose(normalization.invert(np.zeros((ROWS, 6))), 1.0)


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    described = document(stats="stats.safetensors", action__normalize="min_max")
    directory = write_bundle(tmp_path / "bad", described, files={"stats.safetensors": b"PK\x03"})
    assert "is not a safetensors file" in refusal(directory)


ROBOTS = {
    "other robot": ({"robot": "ur5e"}, "was made for 'ur5e'"),
    "unknown joint": ({f"{STATE}__names": ["jaw"]}, "joint(s) jaw not in the robot file"),
    "unknown target": (
        {"action__parts": [{"kind": "target/joint/position", "names": [*JOINTS, "jaw"]}]},
        "joint(s) jaw not in the robot file",
    ),
    "joint without target": (
        {"action__parts": [{"kind": "target/joint/position", "names": list(JOINTS[:5])}]},
        "no target for joint(s) gripper",
    ),
    "unknown camera": ({f"{FRONT}__camera": "nose"}, "camera(s) nose not in the robot file"),
    "faster than the camera": ({"rate": 100, "chunk__execute": 1}, "gives 15 Hz"),
}


@pytest.mark.parametrize("case", ROBOTS)
def test_a_robot_that_does_not_fit_is_refused_in_one_line(tmp_path, robot, case):
    changes, expected = ROBOTS[case]
    bundle = load_bundle(write_bundle(tmp_path / "bad", document(**changes)))
    with pytest.raises(BundleError) as caught:
        bundle.check_robot(robot)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def paths(node, prefix=()):
    yield prefix
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths(value, (*prefix, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from paths(value, (*prefix, index))


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(string.printable, max_size=12)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(string.printable, max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_change_of_a_document_is_accepted_or_refused_in_one_line(data):
    described = document()
    *parents, last = data.draw(st.sampled_from([p for p in paths(described) if p]))
    target = described
    for key in parents:
        target = target[key]
    if data.draw(st.booleans()):
        target[last] = data.draw(JUNK)
    elif isinstance(target, dict):
        target[str(data.draw(st.text(string.printable, max_size=12)))] = target.pop(last)
    else:
        target.append(data.draw(JUNK))
    accept_or_refuse(yaml.safe_dump(described).encode())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(raw):
    accept_or_refuse(raw)


def accept_or_refuse(raw: bytes) -> None:
    message = ""
    try:
        read_document(raw, "policy.yaml")
    except BundleError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
    assert len(message) < 600

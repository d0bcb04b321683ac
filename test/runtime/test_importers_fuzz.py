# SPDX-License-Identifier: Apache-2.0
"""Whatever other tools' documents say, they are read or refused in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import export_factory as exports
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle import draft_bundle, find_bundle
from levine_policy_node.runtime.bundle_document import validate_document
from levine_policy_node.runtime.importers.draft import gaps

SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GRAPH = exports.exploy_graph(metadata={"exploy_version": None})
LEROBOT = exports.lerobot_files()
ENV, CONFIG, BEFORE, AFTER = (
    "env.yaml",
    "config.json",
    "policy_preprocessor.json",
    "policy_postprocessor.json",
)

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.integers(-2, 8),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "..", "/etc/passwd", "../x", "joint_pos", "min_max", "os.system", "TODO: x", "\x00",
         "model.onnx", "action", "observation.state", "state/joint/position"]
    ),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=4)), max_size=7),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


def paths(node: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [prefix] if prefix else []
    items = node.items() if isinstance(node, dict) else ()
    items = enumerate(node) if isinstance(node, list) else items
    for key, value in items:
        found += paths(value, (*prefix, key))
    return found


def mutated(data: st.DataObject, document: Any) -> Any:
    """The document with some places replaced, removed, or given something more."""
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        if not paths(document):
            break
        path = data.draw(st.sampled_from(paths(document)))
        node = document
        for key in path[:-1]:
            node = node[key]
        action = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            del node[path[-1]]
        elif action == "replace" or not isinstance(node, dict):
            node[path[-1]] = data.draw(VALUES)
        else:
            node[data.draw(st.text(max_size=6))] = data.draw(VALUES)
    return document


def read_or_refuse(path: Path) -> None:
    try:
        draft = draft_bundle(*find_bundle(path))
        if not list(gaps(draft.document)):
            validate_document(draft.document, draft.source)
    except BundleError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 1500
        assert str(path) in message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    def make(name: str, files: dict[str, bytes | str]) -> Path:
        return exports.write(tmp_path_factory.getbasetemp() / f"fuzz_{name}", files)

    return make


@SETTINGS
@given(st.data())
def test_any_manifest(folder, data):
    base = {"artifacts/model.onnx": exports.lerobot_actor(), "stats.safetensors": exports.stats()}
    described = json.dumps(mutated(data, exports.manifest()))
    read_or_refuse(folder("manifest", {**base, "manifest.json": described}))


@SETTINGS
@given(st.data())
def test_any_leapp(folder, data):
    described = mutated(data, exports.leapp_document(GRAPH))
    files = {"reach.onnx": GRAPH, "reach.yaml": yaml.safe_dump(described)}
    read_or_refuse(folder("leapp", files))


@SETTINGS
@given(st.data())
def test_any_descriptors(folder, data):
    described = yaml.safe_dump(mutated(data, exports.descriptors()))
    graph = exports.actor(width=2 * exports.N)
    read_or_refuse(folder("isaac", {"policy.onnx": graph, "IO_descriptors.yaml": described}))


@SETTINGS
@given(st.data())
def test_any_checkpoint(folder, data):
    name = data.draw(st.sampled_from([CONFIG, BEFORE, AFTER]))
    files = {**LEROBOT, name: mutated(data, LEROBOT[name])}
    read_or_refuse(
        folder(
            "lerobot",
            {n: c if isinstance(c, bytes) else json.dumps(c) for n, c in files.items()},
        )
    )


@SETTINGS
@given(st.data())
def test_any_metadata(folder, data):
    metadata = exports.mjlab_metadata()
    for key in data.draw(st.lists(st.sampled_from(sorted(metadata)), max_size=3)):
        text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
        near = st.sampled_from(
            ["1", "nan", "inf", "1e999", "[[", "{}", "null", "a,b", ";,;", "[1]"]
        )
        metadata[key] = data.draw(st.one_of(text, near))
    graph = exports.actor(width=2 * exports.N, metadata=metadata)
    read_or_refuse(folder("mjlab", {"policy.onnx": graph}))


@SETTINGS
@given(st.data())
def test_any_metadata_of_exploy(folder, data):
    key = data.draw(
        st.sampled_from(["update_rate", "obj.so101.joints", "output.joint_targets.arm"])
    )
    graph = exports.exploy_graph(metadata={key: data.draw(VALUES)})
    read_or_refuse(folder("exploy", {"policy.onnx": graph}))


@SETTINGS
@given(
    st.sampled_from(["manifest.json", CONFIG, BEFORE, "x.yaml", "IO_descriptors.yaml", ENV]),
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=40).map(str.encode),
        st.sampled_from(
            [
                b"models: 1\npipeline: 2\n", b"models: {\npipeline: [", b"[" * 5000,
                b"a: &a [*a]\nmodels: *a\npipeline: *a", b"<<: {a: 1}\nsim: 2",
                b"!!python/object/apply:os.system ['true']", b"{sim: !!python/name:os.system ''}",
                b"sim: {dt: !!python/object/new:os.system [x]}\ndecimation: 4", b"? [a]\n: b",
                b'{"a": 1, "a": 2}', b'{"format": "policy_package", "version": "1.0"}',
                b"observations: {policy: {}}", b"9" * 5000, b"2001-99-99: 1",
            ]
        ),
    ),
)  # fmt: skip
def test_any_bytes(tmp_path_factory, name, raw):
    folder = tmp_path_factory.mktemp("bytes", numbered=True)
    read_or_refuse(exports.write(folder, {"policy.onnx": exports.actor(), name: raw}))


@SETTINGS
@given(st.one_of(st.binary(max_size=64), st.just(save_safetensors({}))))
def test_any_statistics(folder, raw):
    described = json.dumps(exports.manifest())
    files = {"artifacts/model.onnx": exports.lerobot_actor(), "manifest.json": described}
    read_or_refuse(folder("stats", {**files, "stats.safetensors": raw}))

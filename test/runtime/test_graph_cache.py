# SPDX-License-Identifier: Apache-2.0
"""Graphs optimised for this host: kept whole, private, and only for what they were made of."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
import pytest
from bundle_factory import constant, document, model, ramp_model, write_bundle
from onnx import helper

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.graph_cache import GraphCache, cache_directory, graph_key
from levine_policy_node.runtime.onnx_loader import GraphFiles, OnnxOptions, make_session
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

ROBOT = load_robot("sim_so101")
KEY = "0" * 64


def kept(cache):
    return sorted(path.name for path in cache.iterdir())


def positions(directory, cache):
    policy = OnnxPolicy(load_bundle(directory), ROBOT, OnnxOptions(cache=cache))
    black = np.zeros((96, 96, 3), dtype=np.uint8)
    try:
        shown = {"front": black, "wrist": black}
        return policy.infer(Observation(StampNs(0), np.zeros(6), shown)).positions
    finally:
        policy.close()


def test_the_second_start_uses_what_the_first_made(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    directory = write_bundle(tmp_path / "bundle")
    first = positions(directory, cache)
    (name,) = kept(cache)
    optimised = (cache / name).read_bytes()[32:]
    loaded = []
    real = onnxruntime.InferenceSession

    def watched(content, *args, **kwargs):
        loaded.append(content)
        return real(content, *args, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    np.testing.assert_array_equal(positions(directory, cache), first)
    assert loaded == [optimised]
    assert kept(cache) == [name]
    assert (cache.stat().st_mode & 0o777, (cache / name).stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_damaged_file_is_made_anew(tmp_path):
    cache = tmp_path / "cache"
    directory = write_bundle(tmp_path / "bundle")
    first = positions(directory, cache)
    (name,) = kept(cache)
    whole = (cache / name).read_bytes()
    (cache / name).write_bytes(whole[: len(whole) // 2])
    np.testing.assert_array_equal(positions(directory, cache), first)
    assert (cache / name).read_bytes() == whole


def test_what_onnx_runtime_cannot_load_is_forgotten(tmp_path):
    graph = GraphFiles(ramp_model(), "ramp.onnx")
    options = OnnxOptions(cache=tmp_path / "cache")
    make_session(graph, "cpu", options)
    (name,) = kept(tmp_path / "cache")
    GraphCache(tmp_path / "cache").keep(name.removesuffix(".onnx"), b"no graph")
    make_session(graph, "cpu", options)
    content = GraphCache(tmp_path / "cache").read(name.removesuffix(".onnx"))
    assert content is not None
    assert content != b"no graph"


def test_a_bad_graph_is_refused_and_not_kept(tmp_path):
    node = helper.make_node("Add", ["observation.state", "x"], ["action"])
    shape = np.zeros((2, 3, 5))
    bad = model([constant("x", shape), node], extra=None)
    directory = write_bundle(tmp_path / "bundle", document(), bad)
    with pytest.raises(BundleError, match="cannot load it"):
        positions(directory, tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


def by_link(path, content):
    path.with_suffix(".elsewhere").write_bytes(content)
    path.symlink_to(path.with_suffix(".elsewhere"))


def by_hard_link(path, content):
    path.with_suffix(".elsewhere").write_bytes(content)
    path.hardlink_to(path.with_suffix(".elsewhere"))


def writable_by_others(path, content):
    path.write_bytes(content)
    path.chmod(0o622)


def as_a_pipe(path, content):
    del content
    os.mkfifo(path)


@pytest.mark.parametrize("put", [by_link, by_hard_link, writable_by_others, as_a_pipe])
def test_what_somebody_else_may_have_put_there_is_not_read(tmp_path, put):
    cache = GraphCache.open(tmp_path / "cache")
    assert cache is not None
    cache.keep(KEY, b"ours")
    assert cache.read(KEY) == b"ours"
    path = tmp_path / "cache" / f"{KEY}.onnx"
    content = path.read_bytes()
    path.unlink()
    put(path, content)
    assert cache.read(KEY) is None


def test_a_directory_that_others_can_enter_is_not_used(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "closed")
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "file").write_bytes(b"")
    for name in ("open", "link", "file"):
        assert GraphCache.open(tmp_path / name) is None
    assert GraphCache.open(tmp_path / "closed") is not None
    directory = write_bundle(tmp_path / "bundle")
    assert positions(directory, tmp_path / "open").shape == (8, 6)
    assert kept(tmp_path / "open") == []


def test_only_what_was_used_last_stays(tmp_path):
    cache = GraphCache.open(tmp_path)
    assert cache is not None
    for index in range(40):
        cache.keep(f"{index:064d}", b"x")
        if index == 20:
            os.utime(tmp_path / f"{0:064d}.onnx", (2e9, 2e9))
    assert len(kept(tmp_path)) == 32
    assert cache.read(f"{0:064d}") == b"x"
    assert cache.read(f"{39:064d}") == b"x"
    assert cache.read(f"{1:064d}") is None


def test_the_key_is_of_all_that_matters(monkeypatch):
    keys = {
        graph_key(b"a", {}, "1.0", "cpu"),
        graph_key(b"b", {}, "1.0", "cpu"),
        graph_key(b"a", {}, "1.1", "cpu"),
        graph_key(b"a", {}, "1.0", "cuda"),
        graph_key(b"a", {"w": b"1"}, "1.0", "cpu"),
        graph_key(b"a", {"w": b"2"}, "1.0", "cpu"),
    }
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert len(keys | {graph_key(b"a", {}, "1.0", "cpu")}) == 7


def test_it_lies_where_the_desktop_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "levine_policy_node"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(cache_directory()) == "/home/somebody/.cache/levine_policy_node"

# SPDX-License-Identifier: Apache-2.0
"""A policy on a server: the same chunks as here, its latency in their age, its loss a fault."""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time

import numpy as np
import pytest
from bundle_factory import CAMERAS, JOINTS, RAMP, ROWS, SIZE, ramp_model, write_bundle

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, InferenceError, ObservationError, RemoteError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.bundle_trial import try_bundle
from levine_policy_node.runtime.inference_worker import InferenceRequest, InferenceWorker
from levine_policy_node.runtime.merge_choice import MergeChoice, merge_options
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.policy_loader import load_policy
from levine_policy_node.runtime.remote_access import KEY_VARIABLE, RemoteAccess
from levine_policy_node.runtime.remote_policy import RemotePolicy

pytest.importorskip("websockets")
pytest.importorskip("msgpack")

from openpi_server import OpenpiServer, graph_policy, pack, write_remote

ROBOT = load_robot("sim_so101")
PATIENT_S = 10.0
WORDS = {"prompt": {"kind": "command/text"}}


def ramp(observation) -> dict:
    """What the ramp policy answers, without looking at the images."""
    rows = RAMP * np.arange(1, ROWS + 1)[:, None]
    return {"actions": np.repeat(rows, len(JOINTS), axis=1)}


def echo(observation) -> dict:
    """Actions that tell from which state they are."""
    return {"actions": np.repeat(observation["observation.state"][None], ROWS, axis=0)}


def seen(call: int = 0, task: str = "") -> Observation:
    rng = np.random.default_rng(call)
    return Observation(
        StampNs(10**9 * (call + 1)),
        rng.uniform(-0.5, 0.5, len(JOINTS)),
        {name: rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for name in CAMERAS},
        task=task,
    )


@pytest.fixture
def make(tmp_path):
    """Load the bundle of a server; closes every policy it made."""
    made, number = [], itertools.count()

    def close() -> None:
        while made:
            made.pop().close()

    def load(url, timeout_s=PATIENT_S, access=None, **changes) -> RemotePolicy:
        directory = write_remote(tmp_path / f"remote{next(number)}", url, **changes)
        made.append(RemotePolicy(load_bundle(directory), ROBOT, timeout_s, access))
        return made[-1]

    load.close = close
    yield load
    close()


def refusal(make, url, **changes) -> str:
    with pytest.raises(BundleError) as caught:
        make(url, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def until(condition, timeout_s: float = PATIENT_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        threading.Event().wait(0.01)


def problem(policy, call: int = 0) -> str:
    """Why there is no chunk, or ""."""
    try:
        policy.infer(seen(call))
    except RemoteError as error:
        return str(error)
    return ""


def works(policy, call: int = 0) -> bool:
    return not problem(policy, call)


def test_the_same_network_gives_the_same_chunks_here_and_there(make, tmp_path):
    local = OnnxPolicy(load_bundle(write_bundle(tmp_path / "local")), ROBOT)
    with OpenpiServer(graph_policy(ramp_model())) as server:
        remote = make(server.url)
        for call in range(4):
            here, there = local.infer(seen(call)), remote.infer(seen(call))
            np.testing.assert_array_equal(there.positions, here.positions)
            assert there.joint_names == here.joint_names
            assert (there.observed_ns, there.dt_s) == (here.observed_ns, here.dt_s)
            assert there.source.startswith("policy:ramp@")
            assert 0.0 < remote.graph_s < 1.0
    local.close()


def test_the_server_sees_what_the_document_says_under_its_own_names(make):
    image = {"size": [SIZE, SIZE], "layout": "hwc", "dtype": "uint8"}
    observations = {
        "state": {"kind": "state/joint/position", "names": list(JOINTS), "scale": 2.0},
        "front": {"kind": "sensor/image", "image": image, "tensor": "images/cam_high"},
        "wrist": {"kind": "sensor/image", "image": image, "tensor": "images/cam_wrist"},
        "words": {"kind": "command/text", "tensor": "prompt"},
    }
    with OpenpiServer(ramp) as server:
        flat = make(server.url, observations=observations)
        flat.infer(seen(task=" pick it up "))
        assert server.seen[-1].keys() == {"state", "images/cam_high", "images/cam_wrist", "prompt"}
        nested = make(
            server.url, observations=observations, remote={"url": server.url, "separator": "/"}
        )
        nested.infer(seen(task=" pick it up "))
    got = server.seen[-1]
    assert got["prompt"] == "pick it up"
    assert got["state"].dtype == np.float32
    np.testing.assert_allclose(got["state"], 2.0 * seen().joint_positions, atol=1e-6)
    assert got["images"].keys() == {"cam_high", "cam_wrist"}
    for pixels in got["images"].values():
        assert (pixels.dtype, pixels.shape) == (np.uint8, (SIZE, SIZE, 3))


def test_without_a_task_there_is_no_chunk(make):
    with OpenpiServer(ramp) as server:
        policy = make(server.url, observations=WORDS)
        count = len(server.seen)
        with pytest.raises(ObservationError, match="task"):
            policy.infer(seen())
        assert len(server.seen) == count
        assert policy.bundle.document.reads_task


def test_latency_is_part_of_the_age_of_a_chunk(make):
    slow_s = [0.0]

    def slow(observation):
        threading.Event().wait(slow_s[0])
        return ramp(observation)

    with OpenpiServer(slow) as server:
        policy = make(server.url)
        slow_s[0] = 0.25
        results = []
        worker = InferenceWorker(policy, results.append)
        worker.submit(InferenceRequest(seen()))
        until(lambda: results)
        worker.close()
    result = results[0]
    assert result.duration_s >= 0.25
    assert 0.25 <= result.graph_s <= result.duration_s
    # Rows are 0.1 s apart: two had passed when the answer came.
    options = merge_options(policy.bundle.document.chunk, ROBOT, MergeChoice(lead_s=0.0))
    placer = ChunkPlacer(ROBOT.limits(), options)
    arrived_ns = StampNs(result.observed_ns + round(0.25e9))
    assert placer.place(result.chunk, arrived_ns, playing=True).dropped_rows == 2
    hopeless_ns = StampNs(result.observed_ns + round((ROWS + 1) * 0.1e9))
    assert placer.place(result.chunk, hopeless_ns, playing=True) is None


def test_a_slow_server_is_a_fault_in_time_and_its_late_answer_is_never_used(make):
    gate = threading.Event()
    gate.set()

    def gated(observation):
        gate.wait(PATIENT_S)
        return echo(observation)

    with OpenpiServer(gated) as server:
        policy = make(server.url, timeout_s=0.3)
        gate.clear()
        begin_s = time.monotonic()
        with pytest.raises(RemoteError, match="did not answer in time"):
            policy.infer(seen(1))
        assert time.monotonic() - begin_s < PATIENT_S / 2
        # Until there is a new connection, nobody waits at all.
        with pytest.raises(RemoteError, match="no connection: it did not answer in time"):
            policy.infer(seen(2))
        gate.set()
        until(lambda: works(policy))
        for call in range(3, 6):
            chunk = policy.infer(seen(call))
            np.testing.assert_allclose(
                chunk.positions[0], 2.0 * seen(call).joint_positions, atol=1e-6
            )


def test_the_bundle_may_ask_for_less_time_than_the_executor_but_not_for_more(make):
    with OpenpiServer(ramp) as server:
        for wanted_s, expected_s in ((0.2, 0.2), (5.0, 0.5)):
            policy = make(server.url, 0.5, remote={"url": server.url, "timeout_s": wanted_s})
            assert policy._timeout_s == expected_s


def test_a_server_that_is_killed_is_a_fault_and_comes_back_by_itself(make):
    asked, gate = threading.Event(), threading.Event()
    gate.set()

    def gated(observation):
        asked.set()
        gate.wait(PATIENT_S)
        return ramp(observation)

    with OpenpiServer(gated) as server:
        policy = make(server.url)
        asked.clear()
        gate.clear()
        results = []
        worker = InferenceWorker(policy, results.append)
        worker.submit(InferenceRequest(seen()))
        assert asked.wait(PATIENT_S)
        begin_s = time.monotonic()
        server.abort()
        until(lambda: results)
        assert time.monotonic() - begin_s < PATIENT_S / 2
        gate.set()
    assert results[0].chunk is None
    assert "server ws://127.0.0.1" in results[0].error
    # A loss is a result, and nothing the worker dies of.
    assert worker.alive
    with pytest.raises(RemoteError, match="there is no connection"):
        policy.infer(seen())
    with OpenpiServer(ramp, port=server.port):
        until(lambda: works(policy))
    worker.close()


def test_a_loss_is_noticed_between_two_inferences(make):
    with OpenpiServer(ramp) as server:
        policy = make(server.url)
        link = policy._link
        assert link.connected
    until(lambda: not link.connected)


def test_another_policy_behind_the_same_address_is_not_used(make):
    with OpenpiServer(ramp, {"policy": "a"}) as server:
        policy = make(server.url)
        named = make(server.url, remote={"url": server.url, "metadata": {"policy": "a"}})
    with OpenpiServer(ramp, {"policy": "b"}, port=server.port) as other:
        until(lambda: "metadata is not what it was" in problem(policy))
        until(lambda: "metadata has policy: 'b', not 'a'" in problem(named))
        assert not other.seen
    with OpenpiServer(ramp, {"policy": "a", "pid": 7}, port=server.port):
        until(lambda: works(named))
        assert not works(policy)


def test_metadata_that_the_bundle_names_must_be_there(make):
    wanted = {"policy": "pi05_so101", "reset_pose": [0.0, 1.5], "horizon": 8}
    said = {**wanted, "reset_pose": np.array([0.0, 1.5]), "nested": [np.zeros(2), {}]}
    with OpenpiServer(ramp, said) as server:
        make(server.url, remote={"url": server.url, "metadata": wanted})
        wrong = {"url": server.url, "metadata": {"horizon": 50}}
        assert "metadata has horizon: 8, not 50" in refusal(make, server.url, remote=wrong)
        strange = {"url": server.url, "metadata": {"nested": [1]}}
        assert "metadata has nested: None" in refusal(make, server.url, remote=strange)
        missing = {"url": server.url, "metadata": {"robot": "so101"}}
        assert "metadata has robot: None" in refusal(make, server.url, remote=missing)


GOOD = np.zeros((ROWS, len(JOINTS)))
GARBAGE = {
    "words": ("Traceback\nValueError: no", "it failed: ValueError: no"),
    "bytes": (b"\xc1" * 100, "cannot be read"),
    "number": (pack(7), "int, not a mapping"),
    "nothing": ({}, "no array 'actions'; it has server_timing"),
    "list": ({"actions": GOOD.tolist()}, "no array 'actions'"),
    "rows": ({"actions": GOOD[:-1]}, "shape [7, 6]"),
    "columns": ({"actions": GOOD[:, :-1]}, "floats of shape [8, 6]"),
    "batch": ({"actions": GOOD[None]}, "shape [1, 8, 6]"),
    "whole": ({"actions": GOOD.astype(np.int64)}, "int64"),
    "nan": ({"actions": GOOD * np.nan}, "not finite"),
    "infinite": ({"actions": GOOD + np.inf}, "not finite"),
    "huge": (bytes(20 * 1024**2), "closed"),
}


@pytest.mark.parametrize(("answer", "told"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_a_fault_and_refused_at_loading(make, answer, told):
    answers = [ramp(None)] * 3
    with OpenpiServer(lambda _: answers.pop() if answers else answer) as server:
        policy = make(server.url)
        with pytest.raises(InferenceError) as caught:
            policy.infer(seen())
        assert told in str(caught.value)
        assert told in refusal(make, server.url)
        answers += [ramp(None)] * 100
        until(lambda: works(policy))


def test_a_policy_that_raises_tells_why(make):
    with OpenpiServer(lambda _: {}["prompt"]) as server:
        assert "it failed: KeyError: 'prompt'" in refusal(make, server.url)


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next(make):
    with OpenpiServer(echo) as server:
        policy = make(server.url)
        server.send(pack({"actions": GOOD + 99.0}))
        until(lambda: works(policy, 1))
        assert np.abs(policy.infer(seen(2)).positions).max() < 2.0


def test_pings_are_answered_while_nothing_is_asked(make):
    with OpenpiServer(ramp, ping_interval=0.05) as server:
        policy = make(server.url)
        until(lambda: server.latency > 0.0)
        assert works(policy)


def test_nobody_there_is_one_line_that_says_where(make):
    with OpenpiServer(ramp) as server:
        pass
    assert f"server {server.url}: cannot connect" in refusal(make, server.url)


def test_only_hosts_that_the_robot_allows_are_asked(make, monkeypatch):
    with OpenpiServer(ramp) as server:
        everywhere = server.url.replace("127.0.0.1", "0.0.0.0")
        assert "host 0.0.0.0 may not be asked" in refusal(make, everywhere)
        assert not server.requests
        make(everywhere, access=RemoteAccess(("0.0.0.0",)))
        monkeypatch.setenv(KEY_VARIABLE, "s3cret")
        said = refusal(make, everywhere, access=RemoteAccess(("0.0.0.0",)))
    assert "unencrypted" in said
    assert "s3cret" not in said


def test_a_key_is_sent_and_told_to_nobody_else(make, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, logger="levine_policy_node")
    caplog.set_level(logging.DEBUG, logger="websocket")
    caplog.set_level(logging.DEBUG, logger="websockets.client")
    monkeypatch.setenv(KEY_VARIABLE, "s3cret")
    with OpenpiServer(ramp) as server:
        policy = make(server.url)
        assert server.requests[-1]["Authorization"] == "Api-Key s3cret"
    with pytest.raises(RemoteError) as caught:
        until(lambda: policy.infer(seen()) is None)
    assert "s3cret" not in caplog.text + str(caught.value) + repr(policy.bundle)


def test_a_missing_package_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    said = refusal(make, "ws://localhost:1")
    assert "remote: needs msgpack>=1. Install" in said
    assert "levine_policy_node[remote]" in said


def test_closing_leaves_no_thread_and_may_be_done_twice(make):
    before = threading.active_count()
    with OpenpiServer(ramp) as server:
        policy = load_policy(load_bundle(make(server.url).bundle.path), ROBOT)
        policy.close()
        policy.close()
        with pytest.raises(RemoteError, match="closed"):
            policy.infer(seen())
        make.close()
    until(lambda: threading.active_count() <= before)


def test_the_trial_asks_the_server_first(tmp_path):
    with OpenpiServer(ramp) as server:
        try_bundle(load_bundle(write_remote(tmp_path / "remote", server.url)), ROBOT)
        assert len(server.seen) == 3

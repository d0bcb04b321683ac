# SPDX-License-Identifier: Apache-2.0
"""Policies swapped in a running executor: real processes, real DDS, real ONNX sessions."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_factory import (
    CAMERAS,
    JOINTS,
    RAMP,
    constant,
    dark_endless_model,
    dark_invalid_model,
    document,
    helper,
    invalid_model,
    model,
    ramp_model,
    value_info,
    write_bundle,
)
from diagnostic_msgs.msg import DiagnosticArray
from policy_world import World
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.messages import timeline_from_msg

CONFIG = share_directory() / "config" / "policy_executor.param.yaml"
FINAL = {"done", "refused", "replaced"}


class Executor:
    """A running executor with the ramp policy, and what it says."""

    def __init__(self, graph, folder, executable="policy_executor", **parameters):
        self.world = World(graph)
        self.graph = graph
        self.raw = graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
        self.chunks = graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)
        self.said = graph.collect(String, "policy/swap", qos.OUTCOMES)
        self.status = graph.collect(DiagnosticArray, "/diagnostics", qos.TICKS)
        self.first = write_bundle(folder / "first")
        self.process = graph.start(
            executable,
            params_file=CONFIG,
            parameters={
                "robot": "sim_so101",
                "policy": str(self.first),
                "shadow_observations": 2,
                # A process per bundle takes a second; one test tries it with the others.
                "trial": False,
                # What a black picture does to a policy is tried here.
                "image_dark": 0.0,
                "image_spread": 0.0,
                **parameters,
            },
        )
        self.world.run(lambda: len(self.raw) >= 1)

    def set(self, **values):
        kinds = {
            str: (ParameterType.PARAMETER_STRING, "string_value"),
            bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
            float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
            int: (ParameterType.PARAMETER_INTEGER, "integer_value"),
        }
        parameters = []
        for name, value in values.items():
            kind, field = kinds[type(value)]
            value = ParameterValue(type=kind, **{field: value})
            parameters.append(Parameter(name=name, value=value))
        request = SetParameters.Request(parameters=parameters)
        return self.graph.call(SetParameters, "policy_executor/set_parameters", request).results[0]

    def request(self, bundle):
        """Set the policy; the number of the request."""
        self.world.run(lambda: bool(self.said))
        before = max(state["request"] for state in self.states)
        result = self.set(policy=str(bundle))
        assert result.successful, result.reason
        self.world.run(lambda: self.states[-1]["request"] > before)
        return self.states[-1]["request"]

    @property
    def states(self):
        return [json.loads(message.data) for message in self.said]

    def outcome(self, bundle, timeout_s=20.0):
        """Set the policy and wait for what becomes of it."""
        number = self.request(bundle)
        found = lambda: [s for s in self.states if s["request"] == number and s["state"] in FINAL]  # noqa: E731
        self.world.run(lambda: bool(found()), timeout_s)
        return found()[-1]

    @property
    def parameter(self):
        request = GetParameters.Request(names=["policy"])
        reply = self.graph.call(GetParameters, "policy_executor/get_parameters", request)
        return reply.values[0].string_value

    def figures(self):
        self.status.clear()
        mine = lambda: [s for a in self.status for s in a.status if s.name == "policy_executor"]  # noqa: E731
        self.world.run(lambda: bool(mine()))
        return {v.key: v.value for v in mine()[-1].values}

    def source(self):
        """Tag of the next chunk."""
        self.raw.clear()
        self.world.run(lambda: len(self.raw) >= 1)
        return self.raw[-1].header.frame_id


@pytest.fixture
def executor(ros, tmp_path):
    return Executor(ros, tmp_path)


def bundle(folder, name, step=RAMP, **changes):
    return write_bundle(folder / name, document(name=name, **changes), graph=ramp_model(step))


def test_a_policy_takes_over_at_standstill_after_its_shadow(ros, tmp_path):
    executor = Executor(ros, tmp_path, trial=True)
    before = executor.source()
    other = bundle(tmp_path, "other", 1.5 * RAMP)
    outcome = executor.outcome(other)
    assert outcome["state"] == "done"
    assert outcome["observations"] >= 2
    # Half a ramp more in each of eight rows.
    assert outcome["worst_rad"] == pytest.approx(0.5 * RAMP * 8, abs=1e-4)
    assert 0.0 < outcome["median_rad"] < outcome["worst_rad"]
    assert outcome["memory_before_mb"] <= outcome["memory_both_mb"]
    states = [s["state"] for s in executor.states if s["request"] == outcome["request"]]
    assert states == ["loading", "shadowing", "waiting", "done"]
    after = executor.source()
    assert after.startswith("policy:other@")
    assert int(after.split("#")[1]) == int(before.split("#")[1]) + 1
    figures = executor.figures()
    assert figures["policy"] == outcome["source"].removeprefix("policy:")
    assert (figures["swap"], figures["policies"]) == ("idle", "1")
    tags = [m.header.frame_id for m in executor.chunks]
    # No chunk of the old policy after the first of the new one.
    assert [tag for tag, _ in itertools.groupby(tags)][-1] == after
    # Each may hold the interpreter lock, and a heartbeat would wait for one that does not run.
    assert len(urgencies(executor.process.pid)) == 1
    assert executor.process.stop() == 0
    assert "Traceback" not in executor.process.output()


def urgencies(pid):
    """Niceness of every thread of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads}


def test_in_motion_it_waits_for_standstill_and_says_so(executor, tmp_path):
    mode = executor.graph.publisher(String, "supervisor/mode", qos.MODE)
    mode.publish(String(data="POLICY"))
    executor.world.run(lambda: executor.raw[-1].header.frame_id.endswith("#2"))
    executor.request(bundle(tmp_path, "other"))
    waits = lambda: [s for s in executor.states if "waits for standstill" in s["reason"]]  # noqa: E731
    executor.world.run(lambda: bool(waits()))
    assert executor.source().startswith("policy:ramp@")
    assert "waits for standstill" in executor.figures()["swap"]
    mode.publish(String(data="PAUSED"))
    executor.world.run(lambda: executor.states[-1]["state"] == "done")
    assert executor.source().startswith("policy:other@")


def test_in_motion_it_takes_over_at_a_seam_when_it_may_and_agrees(executor, tmp_path):
    mode = executor.graph.publisher(String, "supervisor/mode", qos.MODE)
    mode.publish(String(data="POLICY"))
    assert executor.set(swap_in_motion=True, swap_agreement=0.02).successful
    executor.world.run(lambda: executor.raw[-1].header.frame_id.endswith("#2"))
    far = executor.request(bundle(tmp_path, "far", 4.0 * RAMP))
    differs = lambda: [s for s in executor.states if "swap_agreement" in s["reason"]]  # noqa: E731
    executor.world.run(lambda: bool(differs()))
    executor.chunks.clear()
    outcome = executor.outcome(bundle(tmp_path, "near", 1.1 * RAMP))
    assert outcome["state"] == "done"
    replaced = [s for s in executor.states if s["request"] == far]
    assert replaced[-1]["state"] == "replaced"
    executor.world.run(lambda: "policy:near" in executor.chunks[-1].header.frame_id)
    executor.world.run(lambda: "policy:near" in executor.chunks[-2].header.frame_id)
    played = [timeline_from_msg(message, JOINTS) for message in executor.chunks]
    for old, new in itertools.pairwise(played):
        # Whosever chunk it is, it continues what is being played.
        joint = new.start_ns
        assert old.covers(joint)
        for what in ("position", "velocity"):
            before, after = (getattr(line.sample(joint), what) for line in (old, new))
            np.testing.assert_allclose(before, after, atol=1e-5)


def corrupt(folder):
    (folder / "policy.onnx").write_bytes((folder / "policy.onnx").read_bytes()[:-50])
    return folder


def unnamed(folder):
    (folder / "policy.yaml").write_text((folder / "policy.yaml").read_text()[:200])
    return folder


def test_what_does_not_verify_is_refused_at_once(executor, tmp_path):
    cases = {
        "no such bundle": tmp_path / "nowhere",
        "was changed or damaged": corrupt(bundle(tmp_path, "half")),
        "policy.yaml": unnamed(bundle(tmp_path, "cut")),
        "was made for 'ur5e'": bundle(tmp_path, "robot", robot="ur5e"),
        "no target for joint(s) gripper": bundle(
            tmp_path,
            "joints",
            action__parts=[{"kind": "target/joint/position", "names": list(JOINTS[:-1])}],
        ),
        "camera(s) nose": bundle(
            tmp_path, "camera", **{"observations__observation.images.front__camera": "nose"}
        ),
    }
    for expected, folder in cases.items():
        result = executor.set(policy=str(folder))
        assert not result.successful, expected
        assert expected in result.reason
        assert "\n" not in result.reason
    assert executor.parameter == str(executor.first)
    assert {s["request"] for s in executor.states} == {0}
    assert executor.source().startswith("policy:ramp@")


def permuted(folder, name):
    """The columns of both joints are exchanged in the document, and the graph knows nothing."""
    return bundle(folder, name, action__parts=[{
        "kind": "target/joint/position",
        "names": [JOINTS[-1], *JOINTS[1:-1], JOINTS[0]],
        "mode": "relative",
    }])  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "make"),
    [
        (
            "fails on a plausible observation",
            lambda folder: write_bundle(folder / "nan", document(), graph=invalid_model()),
        ),
        ("degrees", lambda folder: bundle(folder, "degrees", 57.3 * RAMP)),
        ("joints look exchanged", lambda folder: permuted(folder, "order")),
        (
            "not finite",
            lambda folder: write_bundle(folder / "dark", document(), graph=dark_invalid_model()),
        ),
    ],
)
def test_what_cannot_be_seen_in_the_files_is_refused_later(ros, tmp_path, expected, make):
    executor = Executor(ros, tmp_path)
    if expected == "not finite":
        executor.world.brightness = 0
    outcome = executor.outcome(make(tmp_path))
    assert outcome["state"] == "refused"
    assert expected in outcome["reason"]
    executor.world.run(lambda: executor.parameter == str(executor.first))
    assert executor.source().startswith("policy:ramp@")
    assert executor.figures()["policies"] == "1"
    assert "Traceback" not in executor.process.output()


def test_a_candidate_that_hangs_is_refused_and_the_policy_goes_on(ros, tmp_path):
    executor = Executor(ros, tmp_path, inference_timeout_s=0.5, trial=False)
    executor.world.brightness = 0
    endless = write_bundle(tmp_path / "endless", document(), graph=dark_endless_model())
    outcome = executor.outcome(endless)
    assert "ran longer than" in outcome["reason"]
    assert executor.source().startswith("policy:ramp@")


def test_cameras_that_were_not_needed_before_are_subscribed(ros, tmp_path):
    one = document(name="one")
    del one["observations"]["observation.images.wrist"]
    graph = blind_model()
    executor = Executor(ros, tmp_path)
    assert executor.outcome(write_bundle(tmp_path / "one", one, graph=graph))["state"] == "done"
    assert executor.outcome(bundle(tmp_path, "both"))["state"] == "done"
    executor.process.stop()


def blind_model():
    """Sees the front camera only, and does not look at it."""
    rows = np.repeat(RAMP * np.arange(1, 9)[:, None], len(JOINTS), axis=1)[None]
    inputs = [
        value_info("observation.state", [1, len(JOINTS)]),
        value_info(f"observation.images.{CAMERAS[0]}", [1, 3, 8, 8]),
    ]
    unused = helper.make_node("Identity", ["observation.state"], ["unused"])
    return model([constant("action", rows), unused], extra=inputs)


def test_one_process_refuses_cameras_it_does_not_read(ros, tmp_path):
    one = document(name="one")
    del one["observations"]["observation.images.wrist"]
    first = write_bundle(tmp_path / "one", one, graph=blind_model())
    executor = Executor(ros, tmp_path, "policy_runtime", policy=str(first))
    result = executor.set(policy=str(executor.first))
    assert not result.successful
    assert "sees wrist, and this process reads front" in result.reason
    assert executor.outcome(bundle_of(first, tmp_path / "again"))["state"] == "done"


def bundle_of(folder, copy):
    """The same bundle under another name, its document reformatted."""
    made = yaml.safe_load((folder / "policy.yaml").read_text())
    graph = (folder / "policy.onnx").read_bytes()
    made["files"] = {"policy.onnx": hashlib.sha256(graph).hexdigest()}
    made["name"] = copy.name
    copy.mkdir()
    (copy / "policy.onnx").write_bytes(graph)
    (copy / "policy.yaml").write_text(yaml.safe_dump(made))
    return copy


def test_the_command_waits_and_succeeds_only_if_the_policy_is_active(executor, tmp_path):
    code, out = swap(executor, bundle(tmp_path, "other"), tmp_path / "done.json")
    assert code == 0, out
    assert "shadow: 2 observations" in out
    assert json.loads((tmp_path / "done.json").read_text())["state"] == "done"
    code, out = swap(executor, bundle(tmp_path, "ur5e", robot="ur5e"))
    assert code == 1
    assert out.splitlines()[-1].startswith("error: refused: ")
    assert "was made for 'ur5e'" in out
    code, out = swap(executor, tmp_path / "nowhere")
    assert code == 2
    assert executor.source().startswith("policy:other@")


def swap(executor, folder, results=None):
    """Run `levine swap` while the robot senses; its exit code and output."""
    command = [sys.executable, "-m", "levine_policy_node.cli.main", "swap", str(folder)]
    command += [] if results is None else ["--json", str(results)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        executor.world.run(lambda: process.poll() is not None, 30.0)
        return process.returncode, process.communicate()[0]


def test_twenty_swaps_in_a_row_leak_nothing(ros, tmp_path):
    executor = Executor(ros, tmp_path, shadow_observations=1, replan="at_once")
    both = [heavy(tmp_path, "even"), heavy(tmp_path, "odd")]
    memory = []
    for number in range(20):
        outcome = executor.outcome(both[number % 2])
        assert outcome["state"] == "done"
        memory.append(outcome["memory_after_mb"])
        assert outcome["policies"] == 1
    # Each weighs 8 MB, twice while it is loaded: not one may stay.
    assert np.median(memory[14:]) - np.median(memory[4:10]) < 6.0
    assert executor.process.stop() == 0


def heavy(folder, name):
    """A ramp policy with 8 MB of weights."""
    return write_bundle(folder / name, document(name=name), graph=weighty_model())


def weighty_model():
    """Wide weights that change nothing."""
    rows = np.repeat(RAMP * np.arange(1, 9)[:, None], len(JOINTS), axis=1)[None]
    weights = np.random.default_rng(0).normal(size=(6, 2_000_000 // 6)) * 1e-12
    return model([
        constant("rows", rows),
        constant("weights", weights),
        helper.make_node("MatMul", ["observation.state", "weights"], ["wide"]),
        helper.make_node("ReduceMean", ["wide"], ["m"], axes=[0, 1], keepdims=0),
        helper.make_node("Add", ["rows", "m"], ["action"]),
    ])  # fmt: skip


def test_a_policy_on_a_server_is_swapped_like_any_other_and_its_loss_is_told(ros, tmp_path):
    pytest.importorskip("websockets")
    pytest.importorskip("msgpack")
    from openpi_server import OpenpiServer, graph_policy, write_remote

    executor = Executor(ros, tmp_path, "policy_runtime")
    serves = graph_policy(ramp_model())
    with OpenpiServer(serves) as server:
        outcome = executor.outcome(write_remote(tmp_path / "remote", server.url, name="remote"))
        assert outcome["state"] == "done", outcome
        # The same network, so the same chunks.
        assert outcome["observations"] >= 2
        assert outcome["worst_rad"] < 1e-6
        assert executor.source().startswith("policy:remote@")
    told = lambda: [s.message for a in executor.status for s in a.status if "server" in s.message]  # noqa: E731
    executor.world.run(lambda: bool(told()))
    assert f"no chunk: policy:remote@{outcome['source'][-8:]}: server {server.url}" in told()[-1]
    executor.raw.clear()
    executor.world.run_for(0.5)
    assert not executor.raw
    with OpenpiServer(serves, port=server.port):
        executor.world.run(lambda: len(executor.raw) >= 2)
        assert executor.outcome(executor.first)["state"] == "done"
        assert executor.source().startswith("policy:ramp@")

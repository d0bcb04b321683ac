# SPDX-License-Identifier: Apache-2.0
"""policy_executor as its own process: real images and joint states in, chunks out."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from bundle_factory import (
    JOINTS,
    RAMP,
    ROWS,
    bright_chattering_model,
    dark_endless_model,
    dark_invalid_model,
    document,
    ramp_model,
    write_bundle,
)
from diagnostic_msgs.msg import DiagnosticArray
from policy_world import World
from std_msgs.msg import String, UInt64
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.nodes.policy_setup import PolicyExecutorParameters
from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.messages import duration_from_msg, timeline_from_msg

CONFIG = share_directory() / "config" / "policy_executor.param.yaml"


@pytest.fixture
def world(ros):
    return World(ros)


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "ramp")


def start(world: World, bundle: Path, **parameters):
    return world.graph.start(
        "policy_executor",
        params_file=CONFIG,
        parameters={
            "robot": "sim_so101",
            "policy": str(bundle),
            # Several policies here are told by a black picture what to do.
            "image_dark": 0.0,
            "image_spread": 0.0,
            **parameters,
        },
    )


def test_parameter_file_and_dataclass_agree():
    declared = {field.name for field in dataclasses.fields(PolicyExecutorParameters)}
    given = yaml.safe_load(CONFIG.read_text())["/**/policy_executor"]["ros__parameters"]
    assert set(given) == declared - {"robot", "policy"}


def test_chunks_have_the_right_times_and_values(world, bundle):
    raw = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    chunks = world.graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)
    beats = world.graph.collect(UInt64, "policy/heartbeat", qos.TICKS)
    start(world, bundle)
    world.run(lambda: len(raw) >= 4 and len(chunks) >= 4 and len(beats) > 20)
    message = raw[-1]
    assert tuple(message.joint_names) == JOINTS
    assert message.header.frame_id.startswith("policy:ramp@")
    assert message.header.frame_id.endswith("#1")
    observed_ns = stamp_from_msg(message.header.stamp)
    assert observed_ns in world.frame_stamps
    rows = np.array([point.positions for point in message.points])
    assert rows.shape == (ROWS, len(JOINTS))
    offsets = [duration_from_msg(point.time_from_start) for point in message.points]
    np.testing.assert_allclose(offsets, 0.1 * np.arange(1, ROWS + 1), atol=1e-6)
    expected = world.position_at(observed_ns) + RAMP * np.arange(1, ROWS + 1)[:, None]
    expected[:, -1] += 2 * (world.brightness + 0.5) / 255.0  # half a step of noise
    np.testing.assert_allclose(rows, expected, atol=2e-3)
    timeline = timeline_from_msg(chunks[-1], JOINTS)
    assert timeline.start_ns > observed_ns
    # Where the timeline is not blended, it passes through the rows at their times.
    last_ns = observed_ns + round(offsets[-2] * 1e9)
    np.testing.assert_allclose(timeline.sample(last_ns).position, rows[-2], atol=2e-3)
    counts = [beat.data for beat in beats]
    assert counts == sorted(counts)
    stamps = [stamp_from_msg(m.header.stamp) for m in raw]
    # Every 0.2 s, or up to half a frame of the 15 Hz cameras sooner.
    assert min(np.diff(stamps)) >= (0.2 - 0.5 / 15.0) * 1e9 - 1e6


def test_a_missing_camera_means_no_chunk_and_a_reason(world, bundle):
    world.cameras = ("front",)
    chunks = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    beats = world.graph.collect(UInt64, "policy/heartbeat", qos.TICKS)
    status = world.graph.collect(DiagnosticArray, "/diagnostics", qos.TICKS)
    process = start(world, bundle)
    world.run(lambda: "camera wrist: nothing received" in problems(status))
    assert not chunks
    assert beats
    assert beats[-1].data == 0
    world.run_for(1.0)
    # Said when it begins, not at every tick (fifty per second).
    assert process.output().count("camera wrist: nothing received") < 5
    world.cameras = ("front", "wrist")
    world.run(lambda: len(chunks) > 0)


def test_a_camera_that_shows_nothing_is_told_to_the_supervisor(world, bundle):
    chunks = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    said = world.graph.collect(String, "policy/problem", qos.PROBLEM)
    start(world, bundle, image_dark=4.0)
    world.run(lambda: len(chunks) >= 2 and bool(said) and said[-1].data == "")
    world.brightness = 0
    world.run(lambda: "the picture is dark (3 frames)" in said[-1].data)
    count = len(chunks)
    world.run_for(0.5)
    assert len(chunks) <= count + 1  # one may have been under way
    world.brightness = 128
    world.run(lambda: said[-1].data == "" and len(chunks) > count + 1)


def test_a_policy_that_chatters_is_told_to_the_supervisor(world, tmp_path):
    bundle = write_bundle(tmp_path / "chatters", graph=bright_chattering_model())
    world.brightness = 0
    chunks = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    said = world.graph.collect(String, "policy/problem", qos.PROBLEM)
    start(world, bundle)
    world.run(lambda: len(chunks) >= 4 and bool(said) and said[-1].data == "")
    world.brightness = 128
    world.run(lambda: said[-1].data.startswith("policy output: turns to and fro faster than"))
    # A gripper may open and close.
    assert "elbow_flex" in said[-1].data
    assert "gripper" not in said[-1].data
    world.brightness = 0
    world.run(lambda: said[-1].data == "")


def test_bad_output_may_be_told_without_a_stop(world, tmp_path):
    bundle = write_bundle(tmp_path / "chatters", graph=bright_chattering_model())
    said = world.graph.collect(String, "policy/problem", qos.PROBLEM)
    status = world.graph.collect(DiagnosticArray, "/diagnostics", qos.TICKS)
    start(world, bundle, stop_on_bad_output=False)
    world.run(lambda: "turns to and fro" in problems(status))
    assert not [message for message in said if "turns" in message.data]


def test_a_supervisor_that_falls_silent_is_not_inferred_for(world, bundle):
    chunks = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    process = start(world, bundle)
    beat = world.graph.publisher(UInt64, "supervisor/heartbeat", qos.HEARTBEAT)
    world.run(lambda: len(chunks) >= 2)
    beat.publish(UInt64(data=1))
    world.run(lambda: "no inference: the supervisor is silent" in process.output())
    count = len(chunks)
    world.run_for(0.5)
    assert len(chunks) <= count + 1  # one may have been under way
    timer = world.graph.node.create_timer(0.05, lambda: beat.publish(UInt64(data=2)))
    world.run(lambda: len(chunks) > count + 1)
    world.graph.node.destroy_timer(timer)


def test_a_stale_camera_stops_inference(world, bundle):
    chunks = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    process = start(world, bundle)
    world.run(lambda: len(chunks) >= 2)
    world.cameras = ("wrist",)
    world.run(lambda: "camera front: too old" in process.output())
    count = len(chunks)
    world.run_for(1.0)
    assert len(chunks) == count
    world.cameras = ("front", "wrist")
    world.run(lambda: len(chunks) > count)
    assert "observations are complete again" in process.output()


def test_joint_states_without_a_joint_are_refused_by_name(world, bundle):
    world.joints = JOINTS[:-1]
    process = start(world, bundle)
    world.run(lambda: "joints missing: gripper" in process.output())


def test_entering_policy_mode_starts_a_new_epoch_from_the_present(world, bundle):
    chunks = world.graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)
    start(world, bundle)
    mode = world.graph.publisher(String, "supervisor/mode", qos.MODE)
    mode.publish(String(data="ARMED"))
    world.run(lambda: len(chunks) >= 2)
    assert {chunk.header.frame_id[-2:] for chunk in chunks} == {"#1"}
    mode.publish(String(data="POLICY"))
    world.run(lambda: any(chunk.header.frame_id.endswith("#2") for chunk in chunks))
    world.run(lambda: sum(chunk.header.frame_id.endswith("#2") for chunk in chunks) >= 4)
    played = [timeline_from_msg(c, JOINTS) for c in chunks if c.header.frame_id.endswith("#2")]
    for before, after in itertools.pairwise(played):
        # A chunk continues the timeline that is being played, with its velocity.
        joint = after.start_ns
        assert before.covers(joint)
        np.testing.assert_allclose(
            before.sample(joint).position, after.sample(joint).position, atol=1e-6
        )
        np.testing.assert_allclose(
            before.sample(joint).velocity, after.sample(joint).velocity, atol=1e-5
        )


def test_an_output_that_is_not_finite_gives_no_chunk(world, tmp_path):
    world.brightness = 128
    chunks = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    process = start(world, write_bundle(tmp_path / "dark", graph=dark_invalid_model()))
    world.run(lambda: len(chunks) > 0)
    world.brightness = 0
    world.run(lambda: "no chunk" in process.output())
    count = len(chunks)
    world.run_for(0.5)
    assert len(chunks) == count
    assert process.output().count("not finite") == 1
    world.brightness = 128
    world.run(lambda: len(chunks) > count)


def test_an_endless_inference_is_stopped_and_silences_the_heartbeat(world, tmp_path):
    beats = world.graph.collect(UInt64, "policy/heartbeat", qos.TICKS)
    bundle = write_bundle(tmp_path / "endless", graph=dark_endless_model())
    process = start(world, bundle, inference_timeout_s=0.3, trial=False)
    world.run(lambda: len(beats) > 0 and beats[-1].data > 0)
    world.brightness = 0
    world.run(lambda: "ran longer than 0.3 s" in process.output())
    world.run_for(0.3)  # beats that were under way
    count = len(beats)
    world.run_for(1.0)
    assert len(beats) == count
    world.brightness = 128
    world.run(lambda: len(beats) > count + 20)
    assert process.stop() == 0


def test_it_ends_cleanly(world, bundle):
    chunks = world.graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)
    process = start(world, bundle)
    world.run(lambda: len(chunks) > 0)
    assert process.stop() == 0
    assert "Traceback" not in process.output()


def test_an_onnx_file_that_describes_itself_runs_and_says_how_it_was_read(world, tmp_path):
    model = onnx.load_from_string(ramp_model())
    onnx.helper.set_model_props(model, {"policy.yaml": yaml.safe_dump(document())})
    onnx.save(model, tmp_path / "ramp.onnx")
    chunks = world.graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)
    process = start(world, tmp_path / "ramp.onnx")
    world.run(lambda: len(chunks) > 0)
    assert "was read as policy.yaml (ramp.onnx has metadata policy.yaml)" in process.output()


@pytest.mark.parametrize(
    ("robot", "policy", "expected"),
    [
        ("sim_so101", "nowhere", "no such bundle"),
        ("unknown", None, "'unknown' is not known"),
        ("sim_so101", "corrupt", "was changed or damaged"),
    ],
)
def test_bad_input_ends_the_process_with_one_line(
    world, bundle, tmp_path, robot, policy, expected
):
    if policy == "corrupt":
        (bundle / "policy.onnx").write_bytes(b"x" * 100)
        policy = str(bundle)
    topics = world.graph.collect(UInt64, "policy/heartbeat", qos.TICKS)
    process = start(world, bundle, robot=robot, **({"policy": policy} if policy else {}))
    assert process.wait(30.0) == 2
    lines = [line for line in process.output().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert "Traceback" not in process.output()
    assert not topics


def problems(statuses: list[DiagnosticArray]) -> str:
    return " | ".join(
        status.message
        for array in statuses
        for status in array.status
        if status.name == "policy_executor"
    )

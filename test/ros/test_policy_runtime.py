# SPDX-License-Identifier: Apache-2.0
"""Both process layouts run the same policy on the same robot, and end without a trace."""

from __future__ import annotations

import signal

import cv2
import numpy as np
import pytest
import yaml
from bundle_factory import JOINTS, document, write_bundle
from diagnostic_msgs.msg import DiagnosticArray
from policy_world import World
from std_msgs.msg import UInt64
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos

CONFIG = share_directory() / "config"
EXECUTOR = CONFIG / "policy_executor.param.yaml"


@pytest.fixture
def world(ros):
    return World(ros)


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "ramp")


@pytest.fixture
def chunks(world):
    return world.graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)


def start(world, name, bundle, robot="sim_so101"):
    return world.graph.start(
        name, params_file=EXECUTOR, parameters={"robot": robot, "policy": str(bundle)}
    )


def test_one_process_reads_cameras_and_runs_the_policy(world, bundle, chunks):
    beats = world.graph.collect(UInt64, "policy/heartbeat", qos.TICKS)
    status = world.graph.collect(DiagnosticArray, "/diagnostics", qos.TICKS)
    process = start(world, "policy_runtime", bundle)
    world.run(lambda: len(chunks) >= 5 and len(beats) > 50)
    world.run(lambda: figures(status, "policy_executor").get("chunks", "0") not in {"0", "1"})
    world.run(lambda: float(figures(status, "camera_ingest").get("front_rate_hz", "0")) > 5.0)
    executor = figures(status, "policy_executor")
    assert executor["policy"].startswith("ramp@")
    assert executor["starved"] == "0"
    assert 0.0 < float(executor["inference_ms_p50"]) < 500.0
    assert 0.0 < float(executor["observation_age_ms_p50"]) < 250.0
    assert process.stop(signal.SIGINT) == 0
    assert "Traceback" not in process.output()


def test_two_processes_do_the_same_with_a_camera_on_a_device(world, tmp_path, chunks):
    video = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (32, 32))
    rng = np.random.default_rng(0)
    for _ in range(200):
        writer.write(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    writer.release()
    robot = yaml.safe_load((CONFIG / "robots" / "sim_so101.yaml").read_text())
    robot["cameras"]["front"] = {"device": str(video)}
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(robot))
    world.cameras = ("wrist",)
    bundle = write_bundle(tmp_path / "ramp")
    start(world, "policy_executor", bundle, robot=path)
    world.graph.start(
        "camera_ingest",
        params_file=CONFIG / "camera_ingest.param.yaml",
        parameters={"robot": path},
    )
    world.run(lambda: len(chunks) >= 1)


def test_a_killed_process_leaves_the_graph_silent(world, bundle, chunks):
    beats = world.graph.collect(UInt64, "policy/heartbeat", qos.TICKS)
    process = start(world, "policy_runtime", bundle)
    world.run(lambda: len(chunks) >= 2)
    process.send(signal.SIGKILL)
    process.wait()
    world.run_for(0.3)
    count = len(beats), len(chunks)
    world.run_for(0.3)
    assert (len(beats), len(chunks)) == count


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"observations__observation.state__names": [*JOINTS[:-1], "jaw"]},
            "joint(s) jaw not in the robot file",
        ),
        (
            {"observations__observation.images.front__camera": "nose"},
            "camera(s) nose not in the robot file",
        ),
    ],
)
def test_a_bundle_that_does_not_fit_ends_the_process(world, tmp_path, changes, expected):
    beats = world.graph.collect(UInt64, "policy/heartbeat", qos.TICKS)
    bundle = write_bundle(tmp_path / "bad", document(**changes))
    process = start(world, "policy_runtime", bundle)
    assert process.wait(30.0) == 2
    lines = [line for line in process.output().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert expected in lines[0]
    world.run_for(0.1)
    assert not beats


def figures(statuses: list[DiagnosticArray], name: str) -> dict[str, str]:
    found = [s for array in statuses for s in array.status if s.name == name]
    return {value.key: value.value for value in found[-1].values} if found else {}

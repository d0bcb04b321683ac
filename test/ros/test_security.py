# SPDX-License-Identifier: Apache-2.0
"""DDS security: real nodes do what the policy lets them, and none runs unsecured by accident."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.nodes.camera_ingest import CameraIngest
from levine_policy_node.nodes.intervention_recorder import InterventionRecorder
from levine_policy_node.nodes.policy_executor import PolicyExecutor
from levine_policy_node.nodes.safety_supervisor import SafetySupervisor
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros.operator_client import OperatorClient
from levine_policy_node.sros2 import access_of

CONFIG = share_directory() / "config"
HOLD = Path(__file__).parent.parent / "data" / "bundles" / "hold"
NODES = {
    "safety_supervisor": SafetySupervisor,
    "policy_executor": PolicyExecutor,
    "camera_ingest": lambda: CameraIngest(FrameStore()),
    "intervention_recorder": InterventionRecorder,
}
# Created only when something is asked for: an instruction, a goal, simulated time, ...
SOMETIMES = {
    "/clock", "/diagnostics", "/parameter_events", "/task", "/goal", "/policy/problem",
    "/arm_controller/reference", "/arm_controller/controller_state",
    "/controller_manager/activity", "/supervisor/heartbeat", "/enable",
}  # fmt: skip
# Read by itself only where camera_ingest is not in its process, and then from the first tick on.
SOMETIMES_HERE = {"policy_executor": {"/camera/front/image", "/camera/wrist/image"}}
NO_PLUGIN = {"ROS_SECURITY_ENABLE": "true"}


@pytest.fixture
def ros_args(tmp_path):
    files = [str(CONFIG / f"{name}.param.yaml") for name in NODES]
    values = {"robot": "sim_so101", "policy": HOLD, "root": tmp_path, "trial": "false"}
    arguments = ["--ros-args"]
    for path in files:
        arguments += ["--params-file", path]
    for name, value in values.items():
        arguments += ["-p", f"{name}:={value}"]
    return arguments


def entities(node, name):
    """What the node has created: names per field of Access."""
    found = {
        "publish": node.get_publisher_names_and_types_by_node(name, "/"),
        "subscribe": node.get_subscriber_names_and_types_by_node(name, "/"),
        "reply": node.get_service_names_and_types_by_node(name, "/"),
        "request": node.get_client_names_and_types_by_node(name, "/"),
    }
    return {kind: {topic for topic, _ in pairs} for kind, pairs in found.items()}


def resolved(name, patterns):
    return {
        p if p.startswith("/") else f"/{name}{p[1:]}" if p.startswith("~") else f"/{p}"
        for p in patterns
    }


@pytest.mark.parametrize("name", NODES)
def test_a_node_may_do_what_it_does_and_no_more(ros, name):
    node = ros.add(NODES[name]())
    try:
        if hasattr(node, "autostart"):
            node.autostart()
        created = entities(node, name)
    finally:
        node.close()
    allowed = dataclasses.asdict(access_of(load_robot("sim_so101"))[name])
    for kind, names in created.items():
        patterns = resolved(name, allowed[kind])
        for topic in names:
            assert any(fnmatch(topic, pattern) for pattern in patterns), f"{kind} {topic}"
        for pattern in patterns - SOMETIMES - SOMETIMES_HERE.get(name, set()):
            assert any(fnmatch(topic, pattern) for topic in names), f"{kind} {pattern} is unused"


def test_without_plugins_a_node_ends_with_one_line(ros):
    process = ros.start(
        "safety_supervisor",
        params_file=CONFIG / "safety_supervisor.param.yaml",
        parameters={"robot": "sim_so101"},
        environment=NO_PLUGIN,
    )
    assert process.wait(60.0) != 0
    [line] = process.output().splitlines()
    assert line.startswith("error: ROS_SECURITY_ENABLE is true")


def test_without_plugins_a_command_ends_with_one_line(ros, monkeypatch):
    for name, value in NO_PLUGIN.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "levine_policy_node.cli.main", "demo", "--episodes", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ROS_SECURITY_ENABLE is true")
    del ros


def test_a_client_refuses_too(ros, monkeypatch):
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "yes")
    with pytest.raises(ValueError, match="ROS takes 'yes' for off"):
        OperatorClient("rollout")
    del ros

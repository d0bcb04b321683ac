# SPDX-License-Identifier: Apache-2.0
"""Bad input: one clear line, an exit code that is not 0, and nothing starts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness import isolated_domain

from levine_policy_node.resources import share_directory

BUNDLE = share_directory() / "policies" / "so101_pick_place"
ROBOT = share_directory() / "config" / "robots" / "sim_so101.yaml"


def levine(*arguments, timeout=30):
    command = [sys.executable, "-m", "levine_policy_node.cli.main", *map(str, arguments)]
    with isolated_domain():
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False
        )


def robot_file(tmp_path, change):
    document = yaml.safe_load(ROBOT.read_text())
    change(document)
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def no_such_bundle(tmp_path):
    return "sim_so101", tmp_path / "nothing", "nothing"


def flipped_bit(tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    graph = bundle / "policy.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    return "sim_so101", bundle, "policy.onnx"


def other_joints(tmp_path):
    def rename(document):
        document["joints"]["elbow"] = document["joints"].pop("elbow_flex")
        document["home"]["elbow"] = document["home"].pop("elbow_flex")

    return robot_file(tmp_path, rename), BUNDLE, "elbow_flex"


def unknown_robot(tmp_path):
    del tmp_path
    return "fr33", BUNDLE, "sim_so101"


def camera_absent(tmp_path):
    return robot_file(tmp_path, lambda d: d["cameras"].pop("wrist")), BUNDLE, "wrist"


def yaml_typo(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(ROBOT.read_text().replace("name: sim_so101", "name sim_so101", 1))
    return path, BUNDLE, "YAML"


def unknown_field(tmp_path):
    return robot_file(tmp_path, lambda d: d.update(position_margn=0.1)), BUNDLE, "position_margn"


CASES = [
    no_such_bundle,
    flipped_bit,
    other_joints,
    unknown_robot,
    camera_absent,
    yaml_typo,
    unknown_field,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_up_refuses_with_one_line(case, tmp_path):
    robot, policy, named = case(tmp_path)
    result = levine("up", "--sim", "--robot", robot, "--policy", policy, "--no-recorder")
    assert result.returncode not in {0, -9}
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert named in lines[0]
    assert "running" not in result.stdout


@pytest.mark.parametrize("node", ["safety_supervisor", "policy_runtime", "sim_arm"])
def test_a_node_started_alone_refuses_with_one_line(node):
    command = [
        sys.executable, "-m", f"levine_policy_node.nodes.{node}", "--ros-args",
        "--params-file", str(share_directory() / "config" / f"{node}.param.yaml"),
        "-p", "robot:=fr33", "-p", "policy:=so101_pick_place",
    ]  # fmt: skip
    if node == "policy_runtime":
        command[5] = str(share_directory() / "config" / "policy_executor.param.yaml")
    with isolated_domain():
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "fr33" in errors[0]
    assert "Traceback" not in result.stderr


def test_check_robot_and_check_exit_codes(tmp_path):
    assert levine("check-robot", ROBOT).returncode == 0
    assert levine("check", BUNDLE, "--robot", "sim_so101").returncode == 0
    bad = robot_file(tmp_path, lambda d: d["joints"]["gripper"].pop("jerk"))
    result = levine("check-robot", bad)
    assert result.returncode != 0
    assert "joints.gripper.jerk" in result.stderr


def test_help_of_every_command():
    for command in ("demo", "up", "check", "check-robot", "eval"):
        result = levine(command, "--help")
        assert result.returncode == 0
        assert "--json" in result.stdout
    assert Path(sys.executable).with_name("levine").exists()

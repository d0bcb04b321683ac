# SPDX-License-Identifier: Apache-2.0
"""`levine check-robot` as a user calls it."""

from __future__ import annotations

import json

import pytest
import yaml

from levine_policy_node.cli.main import main
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot, robots_directory


@pytest.fixture
def edit(tmp_path):
    """Write a changed copy of the SO-101's robot file."""

    def write(**changes: object) -> str:
        document = yaml.safe_load((robots_directory() / "so101.yaml").read_text())
        document["urdf"] = str(share_directory() / "urdf" / document["urdf"])
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({**document, **changes}))
        return str(path)

    return write


def test_limits_are_shown_and_placeholders_marked(capsys):
    assert main(["check-robot", "so101"]) == 0
    shown = capsys.readouterr().out
    assert "-1.7278 .. 1.7278" in shown
    assert "2*" in shown


@pytest.mark.parametrize("name", sorted(path.stem for path in robots_directory().glob("*.yaml")))
def test_shipped_robots_are_valid(name, capsys, tmp_path):
    assert main(["check-robot", name, "--json", str(tmp_path / "out.json")]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.rstrip().endswith(f"{name}.yaml: valid")
    robot = load_robot(name)
    for text in (*robot.joints, robot.controller.name, *robot.cameras):
        assert text in captured.out
    results = json.loads((tmp_path / "out.json").read_text())
    assert results["valid"] is True
    assert results["problems"] == []
    assert results["name"] == name
    assert results["placeholders"] == list(robot.placeholders())
    roles = {joint: limits["role"] for joint, limits in results["joints"].items()}
    assert [joint for joint, role in roles.items() if role == "gripper"] == [*robot.gripper_ends()]
    assert len(results["sha256"]) == 64


def test_limits_wider_than_the_urdf_fail_with_one_line_each(edit, capsys, tmp_path):
    document = yaml.safe_load((robots_directory() / "so101.yaml").read_text())
    joints = document["joints"]
    joints["elbow_flex"]["position"] = [-3.0, 3.0]
    out = tmp_path / "out.json"
    assert main(["check-robot", edit(joints=joints), "--json", str(out)]) == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 2
    assert all("mine.yaml: joints.elbow_flex.position: " in line for line in lines)
    assert captured.out.rstrip().endswith("mine.yaml: 2 problem(s)")
    results = json.loads(out.read_text())
    assert results["valid"] is False
    assert len(results["problems"]) == 2


def test_a_missing_urdf_fails(edit, capsys):
    assert main(["check-robot", edit(urdf="none.urdf")]) == 1
    assert "urdf: none.urdf does not exist" in capsys.readouterr().err


def test_a_mistake_in_the_file_is_one_line_and_exit_code_2(edit, capsys, tmp_path):
    out = tmp_path / "out.json"
    assert main(["check-robot", edit(contoller={}), "--json", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "mine.yaml: contoller: is not a known field" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert json.loads(out.read_text())["valid"] is False


def test_an_unknown_name_lists_the_known_ones(capsys):
    assert main(["check-robot", "so102"]) == 2
    assert "sim_so101, sim_so101_effort, so101" in capsys.readouterr().err

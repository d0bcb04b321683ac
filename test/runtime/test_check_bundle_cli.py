# SPDX-License-Identifier: Apache-2.0
"""`levine check` as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from levine_policy_node.cli.main import main
from levine_policy_node.runtime.bundle import load_bundle

HOLD = Path(__file__).parents[1] / "data" / "bundles" / "hold"


@pytest.fixture
def bundle(tmp_path) -> Path:
    return Path(shutil.copytree(HOLD, tmp_path / "hold"))


def test_it_shows_what_the_policy_sees_and_does(bundle, capsys, tmp_path):
    out = tmp_path / "out.json"
    assert main(["check", str(bundle), "--robot", "sim_so101", "--json", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for text in (
        f"hold@{load_bundle(bundle).hash8}",
        "made for    so101",
        "decoder     direct (step)",
        "observation.state",
        "camera wrist",
        "3 x 96 x 96 (chw)",
        "position, relative",
        "fits        sim_so101",
        "ran on plausible observations of sim_so101",
    ):
        assert text in captured.out
    assert max(len(line) for line in captured.out.splitlines() if "path" not in line) < 120
    results = json.loads(out.read_text())
    assert results["fits"] == ["sim_so101"]
    assert results["cameras"] == ["front", "wrist"]
    assert results["sha256"] == load_bundle(bundle).sha256
    assert results["document"]["rate"] == 10.0


def test_without_a_robot_it_lists_the_ones_that_fit(bundle, capsys):
    assert main(["check", str(bundle)]) == 0
    assert "fits        sim_so101, so101" in capsys.readouterr().out


def test_a_policy_for_another_arm_fits_none(bundle, capsys):
    document = bundle / "policy.yaml"
    document.write_text(document.read_text().replace("robot: so101", "robot: fr3"))
    assert main(["check", str(bundle)]) == 0
    assert "fits        none of the robot files that ship" in capsys.readouterr().out
    assert main(["check", str(bundle), "--robot", "so101"]) == 2
    assert "was made for 'fr3'" in capsys.readouterr().err


def replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def damage(bundle: Path) -> None:
    (bundle / "policy.onnx").write_bytes((bundle / "policy.onnx").read_bytes()[:-1] + b"x")


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (damage, "policy.onnx: was changed or damaged"),
        (lambda b: (b / "policy.onnx").unlink(), "policy.onnx"),
        (lambda b: (b / "policy.yaml").unlink(), "policy.yaml"),
        (lambda b: replace(b / "policy.yaml", "rate: 10", "rat: 10"), "rat"),
        (lambda b: replace(b / "policy.yaml", "wrist:", "wrists:"), "camera(s) wrists not in"),
        (lambda b: replace(b / "policy.yaml", "[96, 96]", "[64, 96]"), "observation.images.front"),
        (lambda b: replace(b / "policy.yaml", "elbow_flex", "elbow"), "elbow"),
    ],
)
def test_a_bad_bundle_is_one_line_and_exit_code_2(bundle, capsys, mistake, expected):
    mistake(bundle)
    assert main(["check", str(bundle), "--robot", "sim_so101"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("error: ")
    assert expected in line


def test_an_unknown_bundle_is_one_line(capsys):
    assert main(["check", "no_such_policy"]) == 2
    assert "no_such_policy" in capsys.readouterr().err


BLOCKED = """
import sys
for name in ("rclpy", "sensor_msgs", "std_msgs", "mujoco", "torch"):
    sys.modules[name] = None
from levine_policy_node.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [["check", str(HOLD)], ["check-robot", "so101"]])
def test_checking_needs_neither_ros_nor_mujoco(command):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *command], capture_output=True, text=True, check=False
    )
    assert "Error" not in done.stderr
    assert "so101" in done.stdout


def test_a_reader_that_leaves_early_is_no_error():
    command = [sys.executable, "-m", "levine_policy_node.cli.main", "check", "--schema"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141

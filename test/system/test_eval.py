# SPDX-License-Identifier: Apache-2.0
"""`levine eval --direct`: same policy and simulation in one process, reproducible."""

import json
import subprocess
import sys


def evaluate(path, *extra):
    command = [
        sys.executable, "-m", "levine_policy_node.cli.main", "eval", "--direct",
        "--policy", "so101_pick_place", "--episodes", "3", "--seed", "1000",
        "--json", str(path), *extra,
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode == 0, result.stderr
    assert "Wilson" in result.stdout
    return json.loads(path.read_text())


def test_direct_evaluation_is_reproducible_and_clean(tmp_path):
    first, second = evaluate(tmp_path / "a.json"), evaluate(tmp_path / "b.json")
    assert first == second
    assert first["episodes"] == 3
    assert first["successes"] >= 2
    assert first["limit_violations"] == 0
    assert first["wilson95"][0] < first["successes"] / 3 <= first["wilson95"][1]

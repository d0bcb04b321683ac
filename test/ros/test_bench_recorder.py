# SPDX-License-Identifier: Apache-2.0
"""`levine bench recorder` in its shortest form; nothing here is about speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from harness import isolated_domain


def test_it_records_fills_a_disk_and_survives_a_kill(tmp_path):
    results = tmp_path / "recorder.json"
    arguments = ["--seconds", "1", "--kills", "1", "--json", str(results)]
    with isolated_domain():
        ended = subprocess.run(
            [sys.executable, "-m", "levine_policy_node.cli.main", "bench", "recorder", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=dict(os.environ),
        )
    # Whether it is quick enough is for a machine that does nothing else.
    assert ended.returncode in {0, 1}, ended.stderr
    found = json.loads(results.read_text())
    assert found["problems"] == []
    assert found["messages"] > 100
    assert found["cpu_pct"] > 0.0
    assert (found["kills"], found["damaged"]) == (1, 0)
    assert found["lost_s_max"] >= 0.0
    assert (found["full_disk"]["event"], found["full_disk"]["alive"]) == (True, True)
    assert "lost of an open episode" in ended.stdout

# SPDX-License-Identifier: Apache-2.0
"""`levine demo` as a user runs it: ends by itself, with figures and recordings."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
from harness import isolated_domain
from mcap.reader import make_reader

FIGURES = (
    "limit_violations",
    "missed_ticks",
    "command_jitter_ms_p99",
    "inference_ms_p50",
    "observation_age_ms_p50",
)
RECORDED = {
    "joint_states",
    "policy/action_chunk",
    "policy/raw_chunk",
    "supervisor/mode",
    "supervisor/proposal",
    "supervisor/command",
    "camera/front/image/compressed",
    "camera/wrist/image/compressed",
}


def test_demo_ends_by_itself_with_figures_and_recordings(tmp_path):
    out = tmp_path / "out.json"
    command = [
        sys.executable, "-m", "levine_policy_node.cli.main", "demo", "--headless",
        "--episodes", "2", "--seed", "7", "--json", str(out), "--out", str(tmp_path / "demo"),
    ]  # fmt: skip
    with isolated_domain():
        result = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    results = json.loads(out.read_text())
    # How often it succeeds is for `levine eval` to say; here the exit code must tell the truth.
    assert result.returncode == (0 if results["successes"] else 1), result.stdout + result.stderr
    assert results["episodes"] == 2
    # That no command breaks a limit is asserted where time is simulated (test_eval.py): when a
    # shared machine holds the supervisor up for longer than a window lasts, the controller falls
    # back to its brake, and what comes then no longer continues what is played.
    assert sum(results["monitor"]["limit_violations"].values()) == results["limit_violations"]
    assert all(isinstance(results[name], int | float) for name in FIGURES)
    assert (tmp_path / "demo" / "demo.mp4").stat().st_size > 10_000
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 10_000
    # Arming again after a watchdog stop begins another recording.
    assert len(results["mcap_files"]) >= 2
    topics = set()
    for path in results["mcap_files"]:
        with Path(path).open("rb") as stream:
            summary = make_reader(stream).get_summary()
        topics |= {c.topic.lstrip("/") for c in summary.channels.values()}
    assert "supervisor/mode" in topics
    # An episode that a watchdog ends at once may be over before the first frame.
    if results["duration_s_mean"] > 2.0:
        assert topics >= RECORDED
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])]
    assert not left

# SPDX-License-Identifier: Apache-2.0
"""A command that is told to end takes everything it has started with it."""

import signal
import subprocess
import sys

import psutil
import pytest
from harness import isolated_domain, wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_drives_on_after_a_kill(tmp_path, number):
    command = [sys.executable, "-m", "levine_policy_node.cli.main", "eval", "--policy"]
    # Under nohup the signal of a closed terminal is ignored, and children inherit that.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with isolated_domain():
        leader = subprocess.Popen(
            [*command, "so101_pick_place", "--episodes", "5"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
    signal.signal(signal.SIGHUP, before)
    try:
        process = psutil.Process(leader.pid)
        wait_until(lambda: len(process.children()) >= 2, 60.0, "the graph")
        started = process.children(recursive=True)
        leader.send_signal(number)
        assert leader.wait(60.0) == (-number if number == signal.SIGKILL else 130)
        wait_until(lambda: not any(each.is_running() for each in started), 60.0, "their end")
    finally:
        leader.kill()

# SPDX-License-Identifier: Apache-2.0
"""What a process has done before its nodes' callbacks run."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import pytest
from harness import isolated_domain, wait_until

from levine_policy_node.ros.entrypoint import EXIT_OK

# Source files that `inspect` has found when the nodes begin, and when they have warned.
FOUND = """
import inspect
import sys
from rclpy.node import Node
from levine_policy_node.ros.entrypoint import run

def warn(nodes, stop):
    print(len(inspect.modulesbyfile))
    nodes[0].get_logger().warning("something is wrong")
    print(len(inspect.modulesbyfile))

sys.exit(run(lambda: [Node("quiet")], [], warn))
"""

# At the very end the interpreter gives signals their first meaning again.
ENDING = """
import pathlib
import sys
from rclpy.node import Node
from levine_policy_node.ros.entrypoint import run

def wait(nodes, stop):
    pathlib.Path(sys.argv[1]).touch()
    stop.wait()

sys.exit(run(lambda: [Node("quiet")], [], wait))
"""


@pytest.fixture
def _domain():
    with isolated_domain():
        yield


@pytest.mark.usefixtures("_domain")
def test_the_first_warning_of_a_process_looks_for_no_source_files():
    """It would hold the interpreter lock for 30 to 160 ms, just when something is wrong."""
    command = [sys.executable, "-c", FOUND]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EXIT_OK, done.stderr
    before, after = (int(line) for line in done.stdout.split())
    assert before > 100
    # A few are loaded by what logs.
    assert after <= before + 10


@pytest.mark.usefixtures("_domain")
def test_a_signal_while_it_ends_changes_nothing(tmp_path):
    """Ctrl-C in a terminal reaches every process, and `ros2 launch` passes it on once more."""
    ready = tmp_path / "ready"
    command = [sys.executable, "-c", ENDING, str(ready)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: ready.exists() or process.poll() is not None, 60.0)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.002)
        assert process.returncode == EXIT_OK, process.stderr.read()

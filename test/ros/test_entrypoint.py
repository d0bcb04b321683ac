# SPDX-License-Identifier: Apache-2.0
"""What a process has done before its nodes' callbacks run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from harness import isolated_domain

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

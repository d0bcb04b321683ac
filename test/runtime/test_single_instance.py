# SPDX-License-Identifier: Apache-2.0
"""One process holds the lock; a dead one holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from levine_policy_node.errors import AlreadyRunningError, LevineError, SystemDependencyError
from levine_policy_node.runtime.single_instance import SingleInstance

KEY = ("sim_so101", "domain 7", "left/arm")

HOLDER = """
import sys, pathlib
from levine_policy_node.runtime.single_instance import SingleInstance
held = SingleInstance("safety_supervisor", ("a",), pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_is_refused_with_one_line_that_names_the_first(tmp_path):
    first = SingleInstance("safety_supervisor", KEY, tmp_path)
    with pytest.raises(AlreadyRunningError) as refused:
        SingleInstance("safety_supervisor", KEY, tmp_path)
    assert isinstance(refused.value, LevineError)
    text = str(refused.value)
    assert "safety_supervisor for sim_so101, domain 7, left/arm is already running" in text
    assert f"process {os.getpid()}" in text
    assert "\n" not in text
    first.close()
    first.close()
    SingleInstance("safety_supervisor", KEY, tmp_path).close()


def test_another_robot_domain_or_namespace_is_another_lock(tmp_path):
    held = [
        SingleInstance("safety_supervisor", key, tmp_path)
        for key in (KEY, ("fr3", *KEY[1:]), (KEY[0], "domain 8", KEY[2]), KEY[:2])
    ]
    assert len({instance.path for instance in held}) == 4
    for instance in held:
        instance.close()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunningError, match=f"process {holder.pid}"):
            SingleInstance("safety_supervisor", ("a",), tmp_path)
        holder.kill()
        holder.wait(20)
    assert list(tmp_path.iterdir())
    SingleInstance("safety_supervisor", ("a",), tmp_path).close()


def test_a_lock_that_cannot_be_made_says_where(tmp_path):
    with pytest.raises(SystemDependencyError, match="cannot be opened"):
        SingleInstance("safety_supervisor", KEY, tmp_path / "missing")

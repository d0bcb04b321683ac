# SPDX-License-Identifier: Apache-2.0
"""What the supervisor asks of the operating system: given to every thread, or refused aloud."""

from __future__ import annotations

import os
from pathlib import Path

from std_msgs.msg import String
from supervisor_bench import PARAMETERS

from levine_policy_node.ros import qos


def started(ros, **parameters):
    """The process once it is up, or None if it ended; with its output."""
    modes = ros.collect(String, "supervisor/mode", qos.MODE)
    process = ros.start(
        "safety_supervisor",
        params_file=PARAMETERS,
        parameters={"robot": "sim_so101", **parameters},
    )
    ros.spin_until(lambda: modes or not process.alive, what="the supervisor")
    return process


def threads(process) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()]


def test_every_thread_runs_on_the_given_processor(ros):
    cpu = min(os.sched_getaffinity(0))
    process = started(ros, cpus=[cpu])
    assert process.alive
    assert all(os.sched_getaffinity(thread) == {cpu} for thread in threads(process))


def test_a_processor_that_is_not_there_is_refused(ros):
    process = started(ros, cpus=[4096])
    assert process.wait() == 2
    assert "cpus: [4096] cannot be used. Choose from" in process.output()


def test_real_time_priority_is_given_or_the_missing_permission_named(ros):
    process = started(ros, realtime_priority=5)
    assert process.alive
    policies = {os.sched_getscheduler(thread) for thread in threads(process)}
    if policies != {os.SCHED_FIFO}:
        ros.spin_until(lambda: "rtprio" in process.output(), what="the warning")
        assert "/etc/security/limits.conf" in process.output()
    assert started_without(ros) == {os.SCHED_OTHER}


def started_without(ros) -> set[int]:
    process = started(ros, realtime_priority=0)
    return {os.sched_getscheduler(thread) for thread in threads(process)}


def test_memory_is_locked_or_the_missing_permission_named(ros):
    process = started(ros, lock_memory=True)
    if not process.alive:
        assert process.wait() == 2
        assert "memlock" in process.output()
        assert "/etc/security/limits.conf" in process.output()
    else:
        status = Path(f"/proc/{process.pid}/status").read_text()
        locked = next(line for line in status.splitlines() if line.startswith("VmLck:"))
        assert int(locked.split()[1]) > 0

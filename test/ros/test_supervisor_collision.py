# SPDX-License-Identifier: Apache-2.0
"""The supervisor's own process over real DDS, with a policy that drives the arm into the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from harness import NodeProcess, ros_graph
from supervisor_bench import MIDDLE, ROBOT, Bench, Script

from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.runtime.hand_kinematics import HandKinematics

LIFT = ROBOT.joint_names.index("shoulder_lift")
# The hand's frame lies 5.8 mm inside of the jaw's capsule, which keeps 4 mm from the table.
LOWEST = 0.009


def dive(script: Script) -> Timeline[StampNs]:
    """From where the arm is down into the table at up to 0.8 rad/s, for 1.2 s."""
    times_s = np.arange(25) * 0.05
    phase = np.pi * times_s / times_s[-1]
    begin = StampNs(ros_now(script) - nanoseconds(0.02))
    down = np.eye(6)[LIFT]
    rate, end = np.pi / times_s[-1], 0.8 * times_s[-1] / np.pi
    return Timeline(
        ROBOT.joint_names,
        begin,
        times_s,
        script.position + np.outer(end * (1.0 - np.cos(phase)), down),
        np.outer(end * rate * np.sin(phase), down),
        np.outer(end * rate**2 * np.cos(phase), down),
        "policy:dive@0badcafe#0",
    )


def patiently(start: Callable[..., NodeProcess]) -> Callable[..., NodeProcess]:
    """Start a supervisor that is patient: how punctual the machine is, is not the point."""
    late = {
        "policy_timeout_s": 1.0,
        "inference_stall_s": 2.0,
        "joint_state_timeout_s": 1.0,
        "overrun_s": 0.5,
    }

    def started(*arguments: Any, parameters: dict[str, Any], **options: Any) -> NodeProcess:
        return start(*arguments, parameters={**parameters, **late}, **options)

    return started


def table_in(bench: Bench, name: str) -> bool:
    """Whether such an event was told of the table."""
    return any("table would be" in text and "mm apart" in text for _, text in bench.said(name))


def test_a_policy_that_dives_into_the_table_is_stopped_above_it():
    hand = HandKinematics(ROBOT)
    with ros_graph() as graph:
        graph.start = patiently(graph.start)  # type: ignore[method-assign]
        bench = Bench(graph)
        script = bench.script
        try:
            bench.engage()
            script.chunk = lambda: dive(script)  # type: ignore[method-assign]
            bench.spin_until(lambda: table_in(bench, "CHUNK_CUT"), "the cut")
            bench.spin_until(lambda: table_in(bench, "BLOCKED"), "the stop")
            bench.until("PAUSED")
            bench.spin_until(lambda: bench.speed() == 0.0, "a standing arm")
        finally:
            script.close()
        said = [text for _, text in [*bench.said("CHUNK_CUT"), *bench.said("BLOCKED")]]
        # An arm that a late machine left behind its chunk would have to hurry after it.
        known = ("table would be", "the hand would move at")
        assert all(any(words in text for words in known) for text in said), said
        rows = np.concatenate([window.positions for window in script.windows])
        lowest = min(float(hand.pose(row).positions[2]) for row in rows)
        assert LOWEST < lowest < 0.15
        assert np.max(rows[:, LIFT]) > MIDDLE[LIFT] + 0.2
        bench.assert_all_windows_are_abandon_safe()

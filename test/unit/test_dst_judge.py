# SPDX-License-Identifier: Apache-2.0
"""The judge of the simulation sees what is wrong, so that what it passes means something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.dst.judge import judge
from levine_policy_node.dst.trace import Trace

LIMITS = JointLimits(
    ("a", "b"),
    np.array([-1.0, -1.0]),
    np.array([1.0, 1.0]),
    np.array([1.0, 1.0]),
    np.array([5.0, 5.0]),
    np.array([100.0, 100.0]),
)
MS = 1_000_000


def window(**changes: np.ndarray) -> Timeline[int]:
    """From rest to rest over a tenth of a radian in half a second."""
    still = np.zeros((2, 2))
    good = Timeline(
        ("a", "b"), 0, np.array([0.0, 0.5]), np.array([[0.0, 0], [0.1, 0]]), still, still
    )
    return replace(good, **changes)


def sent(timeline: Timeline[int], mode: str = "POLICY") -> list[str]:
    trace = Trace()
    trace.add(0, "mode", mode)
    trace.add(MS, "window", mode, timeline)
    return list(judge(trace, LIMITS, rests=False, smooth=False).problems)


def commanded(*steps: tuple[str, float]) -> list[str]:
    trace = Trace()
    mode = ""
    for k, (said, position) in enumerate(steps):
        if said != mode:
            trace.add(k * 10 * MS, "mode", said)
            mode = said
        trace.add(k * 10 * MS + 1, "command", said, np.array([position, 0.0]))
    return list(judge(trace, LIMITS, rests=False, smooth=False).problems)


def test_a_good_window_passes():
    assert sent(window()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions": np.array([[0.0, 0.0], [np.nan, 0.0]])}, "finite"),
        ({"velocities": np.array([[0.0, 0.0], [0.01, 0.0]])}, "end at rest"),
        ({"positions": np.array([[0.99, 0.0], [1.001, 0.0]])}, "position"),
        ({"times_s": np.array([0.0, 0.15])}, "velocity"),
        ({"accelerations": np.array([[5.1, 0.0], [0.0, 0.0]])}, "acceleration"),
        ({"positions": np.array([[0.0, 0.0], [0.3, 0.0]])}, "jerk"),
    ],
)
def test_a_window_beyond_one_limit_does_not(changes, said):
    assert any(said in problem for problem in sent(window(**changes)))


@pytest.mark.parametrize("mode", ["INIT", "DISARMED", "FAULT", "ESTOP"])
def test_nothing_may_be_sent_in_a_silent_mode(mode):
    assert sent(window(), mode) != []
    assert commanded((mode, 0.0)) != []


@pytest.mark.parametrize("mode", ["ARMED", "PAUSED", "PSTOP"])
def test_the_command_stands_where_nothing_may_move(mode):
    assert commanded((mode, 0.0), (mode, 0.0)) == []
    assert commanded((mode, 0.0), (mode, 0.001)) != []


def test_two_commands_may_not_be_a_step_apart():
    assert commanded(("POLICY", 0.0), ("POLICY", 0.0099)) == []
    assert commanded(("POLICY", 0.0), ("POLICY", 0.02)) != []
    assert commanded(("POLICY", 0.0), ("POLICY", float("nan"))) != []


def test_an_arm_that_moves_is_not_at_rest():
    trace = Trace()
    still, moving = np.zeros(2), np.array([0.0, 0.1])
    trace.add(0, "cycle", still, still, still)
    assert judge(trace, LIMITS).problems == ()
    trace.add(MS, "cycle", still, still, moving)
    assert judge(trace, LIMITS, smooth=False).problems != ()

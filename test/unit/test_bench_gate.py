# SPDX-License-Identifier: Apache-2.0
"""The cost of the gate is that of verdicts it really gives."""

from __future__ import annotations

import pytest

from levine_policy_node.bench import gate
from levine_policy_node.robot import load_robot


def test_every_tick_of_real_motions_is_timed():
    cost = gate.measure(load_robot("ur5e"), 30)
    assert (cost.robot, cost.joints, cost.windows) == ("ur5e", 6, 30)
    assert 0.0 < cost.window_ms_p50 <= cost.window_ms_p99
    assert 0.0 < cost.position_ms_p50 <= cost.position_ms_p99


def test_a_gate_that_refuses_is_no_figure(monkeypatch):
    monkeypatch.setattr(gate, "window_trip", lambda *_: "elbow: jerk")
    with pytest.raises(gate.GateTrippedError, match="elbow: jerk"):
        gate.measure(load_robot("ur5e"), 30)

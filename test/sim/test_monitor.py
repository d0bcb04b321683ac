# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from levine_policy_node.core.units import SteadyNs
from levine_policy_node.sim.limit_checks import Findings, Violation
from levine_policy_node.sim.monitor import CommandMonitor

MS = 1_000_000


def received(monitor, at_ms):
    for at in at_ms:
        monitor.received(SteadyNs(round(at * MS)))


def test_gaps_are_counted_and_a_pause_is_none():
    monitor = CommandMonitor()
    received(monitor, [0, 10, 20, 34, 40, 2000, 2010])
    report = monitor.report()
    assert report["commands"] == 7
    assert report["pauses"] == 1
    assert report["command_gap_ms"]["p50"] == pytest.approx(10)
    assert report["command_gap_ms"]["max"] == pytest.approx(14)
    assert 3.5 < report["command_jitter_ms_p99"] <= 4.0


def test_a_reset_interrupts_the_stream():
    monitor = CommandMonitor()
    received(monitor, [0, 10])
    monitor.interrupt()
    received(monitor, [400, 410])
    assert monitor.report()["command_gap_ms"]["max"] == pytest.approx(10)


def test_rejections_are_counted_with_the_reason():
    monitor = CommandMonitor()
    monitor.received(SteadyNs(0), "empty trajectory")
    report = monitor.report()
    assert (report["commands"], report["rejected"]) == (1, 1)
    assert report["last_rejection"] == "empty trajectory"


def test_violations_are_counted_by_kind_with_the_first_in_full():
    monitor = CommandMonitor()
    violation = Violation("jerk", "elbow", "setpoint", 1.5, 100.0, 80.0)
    for _ in range(30):
        monitor.record(Findings((violation,), (("jerk", 1.25), ("velocity", 0.5))))
    monitor.record(
        Findings((Violation("position", "elbow", "setpoint", 2.0, None, float("inf")),))
    )
    report = json.loads(json.dumps(monitor.report()))
    assert report["limit_violations"] == {
        "position": 1,
        "velocity": 0,
        "acceleration": 0,
        "jerk": 30,
        "effort": 0,
        "effort_rate": 0,
    }
    assert report["total_violations"] == 31
    assert report["worst_ratio"]["jerk"] == 1.25
    assert len(report["first_violations"]) == 10
    assert report["first_violations"][0] == {
        "kind": "jerk",
        "joint": "elbow",
        "where": "setpoint",
        "time_s": 1.5,
        "value": 100.0,
        "limit": 80.0,
    }


def test_what_the_simulation_itself_did_too_late_is_counted():
    monitor = CommandMonitor()
    for late_ms in (0, 19, 21, 300):
        monitor.was_late(late_ms * 1_000_000)
    assert monitor.report()["late"] == 2


def test_an_empty_report_is_complete():
    report = CommandMonitor().report()
    assert report["commands"] == report["total_violations"] == 0
    assert report["command_gap_ms"] == {"p50": 0.0, "p99": 0.0, "max": 0.0}

# SPDX-License-Identifier: Apache-2.0
"""A few takeovers of the campaign, in deterministic simulation."""

from __future__ import annotations

from levine_policy_node.bench.takeover import run_takeovers


def test_takeovers_are_judged_and_come_out_the_same_again():
    found, again = run_takeovers(3, 1).results(), run_takeovers(3, 1).results()
    assert found["failed"] == []
    assert found["made"] == found["trials"] == 3
    assert found["cut_ticks_max"] <= 1
    assert found["human_active_ms_max"] <= 100.0
    assert found["limit_violations"] == 0
    assert found["stale_chunks_followed"] == 0
    assert found["commands"] > 100
    assert {**again, "cpu_s": 0.0} == {**found, "cpu_s": 0.0}

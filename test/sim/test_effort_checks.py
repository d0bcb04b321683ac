# SPDX-License-Identifier: Apache-2.0
"""The witness of efforts: how large they are, and how fast they change."""

from __future__ import annotations

import numpy as np
import pytest

from levine_policy_node.core.effort_limits import EffortOptions
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.sim.effort_checks import EffortCheck

MS = 1_000_000
ONES = np.ones(2)
# 20 N m/s are 0.2 N m in a period of 10 ms.
OPTIONS = EffortOptions(np.array([1.0, 3.0]), np.array([20.0, 20.0]), ONES, ONES, timeout_s=0.1)


@pytest.fixture
def check():
    return EffortCheck(("a", "b"), OPTIONS, 10 * MS)


def judged(check, *efforts, gap_ms=10, begin_ms=1000):
    found = []
    for k, pair in enumerate(efforts):
        found.append(check.check(np.array(pair), SteadyNs((begin_ms + k * gap_ms) * MS)))
    return found


def kinds(findings):
    return [(v.kind, v.joint) for v in findings.violations]


def test_steps_of_the_rate_pass(check):
    found = judged(check, (0.2, -0.2), (0.4, -0.4), (0.6, -0.2))
    assert [kinds(f) for f in found] == [[], [], []]
    assert dict(found[-1].worst) == {"effort": 0.6, "effort_rate": pytest.approx(1.0)}


def test_what_is_too_large_or_too_sudden_is_named(check):
    found = judged(check, (0.2, 0.0), (0.2, 0.5), (0.4, 0.5))
    assert [kinds(f) for f in found] == [[], [("effort_rate", "b")], []]
    assert found[1].violations[0].value == pytest.approx(50.0)
    assert found[1].violations[0].limit == 20.0
    later = judged(check, (0.6, 0.5), (0.8, 0.5), (1.0, 0.5), (1.1, 0.5), begin_ms=1030)
    assert [kinds(f) for f in later] == [[], [], [], [("effort", "a")]]


def test_the_first_effort_and_one_after_the_timeout_begin_at_nothing(check):
    assert kinds(judged(check, (0.3, 0.0))[0]) == [("effort_rate", "a")]
    judged(check, (0.2, 0.6), begin_ms=1010)
    # The drives still push with the last effort, then it is not known, then they have let go.
    for silent_ms, still, again in ((40, False, True), (100, True, True), (160, True, False)):
        check = EffortCheck(("a", "b"), OPTIONS, 10 * MS)
        judged(check, (0.2, 0.2), (0.2, 0.4), (0.2, 0.6))
        at = 1020 + silent_ms
        assert (kinds(judged(check, (0.0, 0.1), begin_ms=at)[0]) == []) is still
        check = EffortCheck(("a", "b"), OPTIONS, 10 * MS)
        judged(check, (0.2, 0.2), (0.2, 0.4), (0.2, 0.6))
        assert (kinds(judged(check, (0.2, 0.6), begin_ms=at)[0]) == []) is again


def test_what_is_no_number_is_counted(check):
    found = judged(check, (np.nan, 0.0))[0]
    assert kinds(found) == [("effort", "a")]
    assert found.violations[0].value is None


def test_a_reset_begins_at_nothing(check):
    judged(check, (0.2, 0.2), (0.2, 0.4))
    check.begin()
    assert kinds(judged(check, (0.2, 0.2), begin_ms=1020)[0]) == []

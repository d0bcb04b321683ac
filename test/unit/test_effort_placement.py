# SPDX-License-Identifier: Apache-2.0
"""Efforts on absolute time: which row pushes when, and when all of them have ended."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.effort_limits import EffortOptions, bounded
from levine_policy_node.core.effort_placement import EffortPlacer
from levine_policy_node.core.effort_timeline import EffortTimeline, pushing, still_due
from levine_policy_node.core.units import StampNs

MS = 1_000_000
NAMES = ("pan", "lift")


def chunk(rows=4, observed_ns=1_000 * MS, dt_s=0.05):
    efforts = np.arange(2.0 * rows).reshape(rows, 2)
    return ActionChunk(
        NAMES, StampNs(observed_ns), dt_s, np.zeros((rows, 2)), "policy:p", efforts=efforts
    )


def test_a_row_pushes_during_the_period_that_ends_at_its_time():
    line = pushing(chunk())
    for row, begin_ms in enumerate((1000, 1050, 1100, 1150)):
        for at_ms in (begin_ms, begin_ms + 49):
            np.testing.assert_array_equal(line.at(StampNs(at_ms * MS)), [2 * row, 2 * row + 1])
    assert line.at(StampNs(999 * MS)) is None


def test_the_last_row_stands_one_period_longer_and_no_more():
    line = pushing(chunk(rows=1))
    np.testing.assert_array_equal(line.at(StampNs(1099 * MS)), [0.0, 1.0])
    assert line.at(StampNs(1100 * MS)) is None
    assert line.end_ns == 1100 * MS


def test_rows_are_sent_as_early_as_the_arm_is_late():
    line = pushing(chunk(), actuation_delay_s=0.02)
    np.testing.assert_array_equal(line.at(StampNs(1030 * MS)), [2.0, 3.0])


@given(st.integers(900, 1300), st.integers(900, 1300))
def test_what_has_passed_is_dropped_and_the_rest_is_unchanged(now_ms, at_ms):
    line = pushing(chunk())
    rest = still_due(line, StampNs(now_ms * MS))
    if now_ms >= 1250:
        assert rest is None
        return
    assert rest is not None
    assert rest.end_ns == line.end_ns
    if at_ms >= now_ms:
        before, after = line.at(StampNs(at_ms * MS)), rest.at(StampNs(at_ms * MS))
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_array_equal(before, after)


def test_a_new_chunk_takes_the_place_of_the_one_before():
    placer = EffortPlacer()
    first = placer.place(chunk(), StampNs(1010 * MS), playing=True)
    assert first is not None
    assert first.dropped_rows == 0
    second = placer.place(chunk(observed_ns=1050 * MS), StampNs(1110 * MS), playing=True)
    assert second is not None
    assert second.dropped_rows == 1
    np.testing.assert_array_equal(second.timeline.at(StampNs(1110 * MS)), [2.0, 3.0])
    assert placer.ends_ns == second.timeline.end_ns
    assert placer.figures() == {"chunks": 2, "late_chunks": 0, "dropped_rows": 1, "starved": 0}


def test_a_chunk_that_comes_too_late_is_none():
    placer = EffortPlacer()
    assert placer.place(chunk(), StampNs(1250 * MS), playing=True) is None
    assert placer.figures()["late_chunks"] == 1
    assert placer.figures()["dropped_rows"] == 4


def test_an_arm_that_stands_is_offered_the_whole_chunk_however_late():
    placed = EffortPlacer().place(chunk(), StampNs(5000 * MS), playing=False, standing=True)
    assert placed is not None
    assert placed.dropped_rows == 0
    np.testing.assert_array_equal(placed.timeline.at(StampNs(5000 * MS)), [0.0, 1.0])


def test_starving_is_told_once():
    placer = EffortPlacer()
    placer.place(chunk(), StampNs(1010 * MS), playing=True)
    assert not placer.starves(StampNs(1249 * MS))
    assert placer.starves(StampNs(1250 * MS))
    assert not placer.starves(StampNs(1260 * MS))
    later = EffortPlacer()
    later.continue_from(placer)
    assert not later.starves(StampNs(1270 * MS))
    assert later.figures()["starved"] == 1


def test_without_efforts_or_with_wrong_knots_there_is_no_timeline():
    with pytest.raises(ValueError, match="no efforts"):
        pushing(ActionChunk(NAMES, StampNs(0), 0.1, np.zeros((1, 2))))
    for times_s in ([0.0], [0.1, 0.2], [0.0, 0.0]):
        with pytest.raises(ValueError, match="efforts"):
            EffortTimeline(NAMES, StampNs(0), np.array(times_s), np.zeros((len(times_s), 2)))


@given(st.floats(-1e6, 1e6), st.floats(-5.0, 5.0), st.floats(0.0, 0.1))
def test_an_effort_that_is_sent_is_the_nearest_within_both_bounds(asked, before, passed_s):
    options = EffortOptions(np.full(1, 5.0), np.full(1, 40.0), np.ones(1), np.ones(1))
    sent = bounded(np.array([asked]), np.array([before]), passed_s, options)[0]
    assert abs(sent) <= 5.0
    assert abs(sent - before) <= 40.0 * passed_s + 1e-12
    if abs(asked) <= 5.0 and abs(asked - before) <= 40.0 * passed_s:
        assert sent == pytest.approx(asked, abs=1e-12)

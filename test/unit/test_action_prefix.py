# SPDX-License-Identifier: Apache-2.0
"""What a policy is told of the motion that is being played, and for which delay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import (
    ActionPrefix,
    Prefixes,
    PrefixOptions,
    rows_to_come,
)
from levine_policy_node.core.consumed_rows import ConsumedRows
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, nanoseconds

MS = 1_000_000
LIMITS = JointLimits(
    ("a",), np.array([-9.0]), np.array([9.0]), np.array([9.0]), np.array([90.0]), np.array([3e3])
)
OPTIONS = PrefixOptions(rows=10, start=0, dt_s=0.1)


def line(start_ms, knots, level=0.0):
    """A timeline with a knot each 100 ms, rising from `level` by 1 per second."""
    times = 0.1 * np.arange(knots)
    ones = np.ones((knots, 1))
    return Timeline(
        ("a",), StampNs(start_ms * MS), times, level + times[:, None], ones, 0.0 * ones
    )


@st.composite
def played(draw):
    """Timelines in the order they took effect, each from its start on."""
    lines, start_ms = [], draw(st.integers(0, 500))
    for _ in range(draw(st.integers(0, 4))):
        lines.append(line(start_ms, draw(st.integers(2, 12)), draw(st.floats(-3, 3))))
        start_ms += draw(st.integers(1, 900))
    return lines


@given(played(), st.integers(-500, 3_000), st.integers(1, 300), st.integers(1, 20))
def test_rows_are_what_is_played_at_their_time_and_end_with_it(lines, first_ms, dt_ms, count):
    times = [StampNs((first_ms + row * dt_ms) * MS) for row in range(count)]
    rows = rows_to_come(lines, times)
    length = 0 if rows is None else len(rows)
    assert rows is None or rows.shape == (length, 1)
    for row, time_ns in enumerate(times[: length + 1]):
        # What is played is the last timeline that has begun: each replaces the one before it.
        begun = [made for made in lines if made.start_ns <= time_ns]
        exists = bool(begun) and time_ns <= begun[-1].end_ns
        assert exists == (row < length)
        if exists:
            np.testing.assert_allclose(rows[row], begun[-1].sample(time_ns).position, atol=1e-9)


@given(st.integers(0, 10**15), st.integers(0, 3), st.floats(0.005, 0.5), st.floats(0.0, 0.3))
def test_a_row_is_sent_at_its_time_minus_the_actuation_delay(observed_ns, start, dt_s, delay_s):
    options = PrefixOptions(8, start, dt_s, delay_s)
    chunk = ActionChunk(("a",), StampNs(observed_ns), dt_s, np.zeros((8 - start, 1)))
    early_ns = nanoseconds(delay_s)
    found = options.sent_ns(chunk.observed_ns)
    # Row 0 of a chunk is row `start` of what the policy returns.
    assert found[start:] == [chunk.row_stamp(row) - early_ns for row in range(8 - start)]
    assert found == sorted(found)


def test_a_prefix_says_no_more_than_it_knows():
    ActionPrefix(np.zeros((2, 1)), 2)
    for rows, delay in ((0, 0), (2, 3), (2, -1)):
        with pytest.raises(ValueError, match="action prefix"):
            ActionPrefix(np.zeros((rows, 1)), delay)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 12))
def test_the_delay_is_the_largest_of_the_last_counts(counts, window):
    consumed = ConsumedRows(window)
    assert consumed.largest is None
    for count in counts:
        consumed.add(count)
    assert consumed.largest == (max(counts[-window:]) if counts else None)


def chunk(observed_ms, delay_rows=None):
    rows = 0.01 * np.arange(10)[:, None]
    return ActionChunk(("a",), StampNs(observed_ms * MS), 0.1, rows, delay_rows=delay_rows)


def placer(prefix=OPTIONS, **options):
    return ChunkPlacer(LIMITS, MergeOptions(rule="rtc", lead_s=0.03, **options), prefix)


def place(made, observed_ms, took_ms, delay_rows=None, playing=True):
    now = StampNs((observed_ms + took_ms) * MS)
    return made.place(chunk(observed_ms, delay_rows), now, playing=playing)


@pytest.mark.parametrize("actuation_delay_s", [0.0, 0.08])
def test_the_prefix_is_the_timeline_that_is_played(actuation_delay_s):
    made = placer(
        PrefixOptions(10, 0, 0.1, actuation_delay_s), actuation_delay_s=actuation_delay_s
    )
    merged = place(made, 0, 250)
    prefix = made.prefix(StampNs(400 * MS))
    # Rows due at 100, 200 and 300 ms, for the delay of 80 ms earlier, passed before 280 ms.
    assert prefix.delay_rows == (2 if actuation_delay_s == 0.0 else 3)
    for row, position in enumerate(prefix.rows):
        sent = StampNs(400 * MS + (row + 1) * 100 * MS - nanoseconds(actuation_delay_s))
        np.testing.assert_allclose(position, merged.timeline.sample(sent).position, atol=1e-9)
    assert len(prefix.rows) < 10
    assert made.figures()["rtc_chunks"] == 1


def test_nothing_is_told_before_anything_is_played():
    made = placer()
    assert made.prefix(StampNs(0)) is None
    place(made, 0, 50, playing=False)
    assert made.prefix(StampNs(100 * MS)) is None
    place(made, 100, 50)
    assert made.prefix(StampNs(200 * MS)) is not None
    made.reset()
    assert made.prefix(StampNs(200 * MS)) is None
    assert made.figures()["rtc_outside_delay"] == 0


def test_without_the_rule_nothing_is_told():
    made = ChunkPlacer(LIMITS, MergeOptions())
    place(made, 0, 50)
    assert made.prefix(StampNs(100 * MS)) is None
    assert made.rtc_problem is None
    assert made.figures()["rtc_chunks"] == 0


def test_rows_before_the_newest_chunk_took_effect_come_from_the_one_before():
    made = placer(PrefixOptions(10, 2, 0.1))
    first = place(made, 0, 50)
    second = place(made, 200, 150)
    prefix = made.prefix(StampNs(400 * MS))
    # Two rows of the past: 300 and 400 ms; the second chunk is played from 350 ms on.
    for row, time_ms in enumerate((300, 400, 500)):
        playing = first if time_ms < 350 else second
        expected = playing.timeline.sample(StampNs(time_ms * MS)).position
        np.testing.assert_allclose(prefix.rows[row], expected, atol=1e-9)


def test_a_delay_beyond_the_trained_one_is_counted_and_said_with_both_figures():
    made = placer(PrefixOptions(10, 0, 0.1, max_delay=3))
    place(made, 0, 450)
    assert made.prefix(StampNs(500 * MS)) is None
    kind, text = made.rtc_problem
    assert kind == "outside"
    assert "after 4 rows" in text
    assert "at most 3" in text
    assert made.figures()["rtc_outside_delay"] == 1
    # One slow chunk is remembered for ten.
    for index in range(1, 11):
        assert made.prefix(StampNs(index * 500 * MS)) is None
        place(made, index * 500, 50)
    assert made.prefix(StampNs(5_100 * MS)).delay_rows == 0
    assert made.rtc_problem is None
    assert made.figures()["rtc_outside_delay"] == 11


def test_a_chunk_that_comes_later_than_it_was_told_is_counted_and_said():
    made = placer()
    place(made, 0, 150)
    assert made.prefix(StampNs(200 * MS)).delay_rows == 1
    assert place(made, 200, 250, delay_rows=1) is not None
    kind, text = made.rtc_problem
    assert kind == "exceeded"
    assert "after 2 of its rows" in text
    assert "delay of 1" in text
    assert made.figures()["rtc_delay_exceeded"] == 1
    assert made.prefix(StampNs(500 * MS)).delay_rows == 2
    assert made.rtc_problem is None


def test_a_chunk_that_is_too_late_to_be_played_counts_with_all_its_rows():
    made = placer()
    place(made, 0, 50)
    assert place(made, 200, 5_000, delay_rows=0) is None
    assert made.figures()["rtc_delay_exceeded"] == 1
    assert "after 10 of its rows" in made.rtc_problem[1]


def test_the_delay_told_is_no_longer_than_what_is_known():
    prefixes = Prefixes(OPTIONS)
    prefixes.consumed(chunk(0), 7)
    prefixes.playing(line(0, 4), StampNs(0))
    prefix = prefixes.prefix(StampNs(0))
    assert (len(prefix.rows), prefix.delay_rows) == (3, 3)


def test_old_timelines_are_forgotten():
    prefixes = Prefixes(OPTIONS)
    prefixes.consumed(chunk(0), 0)
    for start_ms in range(0, 60_000, 100):
        prefixes.playing(line(start_ms, 12), StampNs(start_ms * MS))
    assert len(prefixes._played) < 25
    assert prefixes.prefix(StampNs(59_000 * MS)) is not None
    assert prefixes.prefix(StampNs(50_000 * MS)) is None


# The seam keeps off knots by up to two milliseconds; a row that is due then may count either way.
TOOK_MS = st.integers(20, 600).filter(lambda ms: ms % 100 not in {68, 69, 70})


@given(st.lists(TOOK_MS, min_size=2, max_size=12))
def test_the_delay_told_is_the_largest_that_was_counted(took_ms):
    made, counts = placer(), []
    for index, took in enumerate(took_ms):
        observed_ms = 700 * index
        prefix = made.prefix(StampNs(observed_ms * MS))
        if prefix is not None:
            assert prefix.delay_rows == min(max(counts[-10:]), len(prefix.rows))
        merged = place(made, observed_ms, took)
        counts.append(merged.dropped_rows)
        # Counted by index: rows due until the seam, however long it took.
        assert merged.dropped_rows == sum(100 * (row + 1) <= took + 30 for row in range(10))

# SPDX-License-Identifier: Apache-2.0
"""What the frames show is told at once, what is only late when it lasts, each once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.alignment import Problem, StreamFault
from levine_policy_node.core.observation_news import ObservationNews

LATE = {Problem.MISSING, Problem.STALE, Problem.APART}


def test_what_a_frame_shows_is_told_at_once_and_taken_back_at_once():
    news = ObservationNews()
    assert news.observed(None) == ""
    assert news.observed(StreamFault("camera a", Problem.DARK, detail="3 frames")) == (
        "camera a: the picture is dark (3 frames)"
    )
    assert news.observed(StreamFault("camera a", Problem.DARK, detail="4 frames")) is None
    assert news.observed(None) == ""
    assert news.observed(None) is None


def test_a_bad_answer_is_told_where_nothing_else_is_wrong():
    news, bad = ObservationNews(), StreamFault("policy output", Problem.CHATTERS)
    dark = StreamFault("camera a", Problem.DARK)
    assert news.observed(None) == ""
    assert news.answered(None) is None
    assert news.answered(bad) == str(bad)
    assert news.observed(None) is None
    assert news.observed(dark) == str(dark)
    assert news.answered(bad) is None
    assert news.observed(None) == str(bad)
    assert news.answered(None) == ""


@pytest.mark.parametrize("problem", sorted(LATE, key=str))
def test_what_is_late_is_told_with_the_second_heartbeat(problem):
    news, late = ObservationNews(), StreamFault("camera a", problem, 0.3, 0.2)
    news.observed(None)
    assert news.observed(late) is None
    assert news.tick() is None
    assert news.observed(None) is None
    assert [news.observed(late), news.tick(), news.observed(late)] == [None] * 3
    assert news.tick() == str(late)
    assert news.tick() is None
    assert news.observed(None) == ""


FAULTS = st.one_of(
    st.none(), st.builds(StreamFault, st.sampled_from(["a", "b"]), st.sampled_from(Problem))
)


@given(st.lists(st.tuples(FAULTS, st.integers(0, 3)), max_size=30))
def test_the_last_word_is_never_wrong_for_longer_than_two_heartbeats(history):
    news, said, ticks = ObservationNews(), None, 0
    for fault, beats in history:
        words = [news.observed(fault)]
        ticks = 0 if fault is None or fault.problem not in LATE else ticks
        for _ in range(beats):
            ticks += fault is not None and fault.problem in LATE
            words.append(news.tick())
        said = next((word for word in reversed(words) if word is not None), said)
        if fault is None:
            assert said == ""
        elif fault.problem not in LATE or (ticks >= 2 and beats):
            assert said == str(fault)
        elif ticks >= 2:
            # It has become another; that it is well, nobody says meanwhile.
            assert said

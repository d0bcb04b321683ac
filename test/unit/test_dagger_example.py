"""The parts of examples/dagger_so101 that decide, without torch, ROS and simulation."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "examples/dagger_so101"))

from corrections import Grid, Labelled, Track, corrections, spans_of
from mixing import Draws, Mix, draw_weights
from replay import Replay, transitions
from report import Row, table, verdicts
from success import Score
from takeover_rule import Facts, Rule, Watched, may_hand_back, why_take_over

RULE = Rule()
ABOVE = Facts(
    time_s=0.0,
    hand=np.array([0.2, 0.0, 0.13]),
    cube=np.array([0.2, 0.0, 0.0175]),
    gripper=1.0,
    held=False,
    in_bin=False,
)


def judged(*seen):
    """What the watcher says at the end of what it has seen."""
    watched = Watched.beginning(seen[0])
    for facts in seen:
        watched = watched.after(facts, RULE)
    return why_take_over(watched, seen[-1], RULE)


def test_a_hand_on_its_way_is_left_alone():
    assert judged(ABOVE, replace(ABOVE, time_s=RULE.lift_s)) == ""


def test_a_hand_down_beside_the_cube_is_corrected_after_a_moment():
    beside = replace(ABOVE, time_s=2.0, hand=np.array([0.2, 0.03, 0.02]))
    later = replace(beside, time_s=2.0 + RULE.beside_s)
    assert judged(ABOVE, beside, later) == ""
    assert judged(ABOVE, beside, replace(later, time_s=2.1 + RULE.beside_s)) == "missed"
    up_again = replace(ABOVE, time_s=2.2)
    assert judged(ABOVE, beside, up_again, replace(later, time_s=2.3 + RULE.beside_s)) == ""


def test_what_went_wrong_is_named():
    pushed = replace(ABOVE, time_s=1.0, cube=ABOVE.cube + np.array([0.03, 0.0, 0.0]))
    assert judged(ABOVE, pushed) == "pushed"
    assert judged(ABOVE, replace(pushed, held=True)) == ""
    assert judged(ABOVE, replace(ABOVE, time_s=1.0, gripper=0.1)) == "empty grasp"
    assert judged(ABOVE, replace(ABOVE, time_s=RULE.lift_s + 0.1)) == "stalled"


def test_a_cube_that_was_lifted_must_come_to_the_bin():
    lifted = replace(ABOVE, time_s=3.0, cube=np.array([0.2, 0.0, 0.08]), held=True)
    assert judged(ABOVE, lifted) == ""
    assert judged(ABOVE, lifted, replace(ABOVE, time_s=4.0)) == "dropped"
    late = replace(lifted, time_s=3.1 + RULE.place_s)
    assert judged(ABOVE, lifted, late) == "stalled"
    assert judged(ABOVE, lifted, replace(late, held=False, in_bin=True)) == ""


def test_the_policy_gets_the_arm_back_with_the_cube_in_the_air():
    high = replace(ABOVE, time_s=5.0, hand=np.array([0.2, 0.0, 0.1]), held=True)
    assert may_hand_back(4.0, high, RULE)
    assert not may_hand_back(4.9, high, RULE)
    assert not may_hand_back(4.0, replace(high, held=False), RULE)
    assert not may_hand_back(4.0, replace(high, hand=np.array([0.2, 0.0, 0.05])), RULE)


@pytest.mark.parametrize(
    ("changes", "spans"),
    [
        ([], ()),
        ([(0.0, "POLICY"), (1.0, "HUMAN"), (2.0, "POLICY")], ((1.0, 2.0),)),
        ([(0.0, "HUMAN"), (3.0, "STOPPING"), (4.0, "HUMAN")], ((0.0, 3.0), (4.0, 9.0))),
    ],
)
def test_a_persons_spans_are_read_from_the_modes(changes, spans):
    assert spans_of(frozenset({"HUMAN"}), changes, 9.0) == spans


def driven(human):
    """Ten seconds in which command j is `(j + 1) t`, seen at 10 Hz."""
    seen_s, sent_s = np.arange(0.0, 10.0, 0.1), np.arange(0.0, 10.0, 0.01)
    frames = np.zeros((len(seen_s), 2, 4, 4, 3), np.uint8)
    columns = np.arange(1, 4)
    return Track(
        seen_s, frames, np.outer(seen_s, columns), sent_s, np.outer(sent_s, columns), human
    )


GRIDS = st.builds(
    Grid, rows=st.integers(4, 16), row_s=st.sampled_from([0.05, 0.1]), least=st.integers(1, 4)
)


@given(begin_s=st.floats(0.0, 8.0), length_s=st.floats(0.0, 2.0), grid=GRIDS)
def test_labels_are_what_was_sent_and_never_leave_the_persons_span(begin_s, length_s, grid):
    end_s = begin_s + length_s
    track = driven(((begin_s, end_s),))
    made = corrections(track, grid)
    inside = (track.seen_s >= begin_s) & (track.seen_s < end_s)
    assert len(made) <= np.count_nonzero(inside)
    assert np.all(made.human)
    seen_s = made.joints[:, 0].astype(float)
    assert np.all((seen_s >= begin_s - 1e-6) & (seen_s < end_s))
    ahead_s = grid.row_s * np.arange(1, grid.rows + 1)
    at_s = seen_s[:, None] + ahead_s
    wanted = at_s[..., None] * np.arange(1, 4)
    assert np.allclose(made.rows[made.valid], wanted[made.valid], atol=1e-4)
    assert np.all(at_s[made.valid] <= end_s + 1e-5)
    assert np.all(made.valid.sum(axis=1) >= grid.least)
    # A row is a label until the span ends, and none after it is.
    assert np.all(np.diff(made.valid.astype(int), axis=1) <= 0)


def test_an_episode_without_help_gives_nothing():
    made = corrections(driven(()), Grid())
    assert len(made) == 0
    assert made.rows.shape == (0, 16, 3)
    assert len(Labelled.join([made, made])) == 0


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.sampled_from(Mix))
def test_weights_add_up_and_iwr_halves_the_draws(flags, mix):
    human = np.array(flags)
    weights = draw_weights(human, mix)
    assert weights.sum() == pytest.approx(1.0)
    assert np.all(weights > 0.0)
    if mix is Mix.IWR and 0 < human.sum() < len(human):
        assert weights[human].sum() == pytest.approx(0.5)
    else:
        assert np.ptp(weights) == pytest.approx(0.0)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no sample"):
        draw_weights(np.zeros(0, dtype=bool), Mix.IWR)


def test_draws_follow_the_weights_and_repeat_with_the_seed():
    weights = draw_weights(np.array([True] + 99 * [False]), Mix.IWR)
    drawn = Draws(weights, seed=3).batch(10_000)
    assert np.mean(drawn == 0) == pytest.approx(0.5, abs=0.03)
    assert np.array_equal(drawn, Draws(weights, seed=3).batch(10_000))
    assert drawn.max() <= 99


def test_transitions_reward_success_and_charge_takeovers():
    made = transitions(driven(((2.0, 3.0), (5.0, 10.0))), Grid(), success=True)
    assert len(made) == 100
    assert made.last.sum() == 1
    assert made.last[-1]
    assert made.reward[-1] == 1.0
    # What was done just before each takeover is what led to it.
    assert np.flatnonzero(made.reward < 0.0).tolist() == [19, 49]
    assert made.human[20]
    assert not made.human[19]
    # Whoever drives: what was sent is what was done.
    assert np.allclose(made.rows[0, :, 0], 0.1 * np.arange(1, 17), atol=1e-5)


def test_the_sample_after_the_last_is_the_last_of_its_episode():
    replay = Replay()
    first = transitions(driven(()), Grid(), success=False)
    second = transitions(driven(((0.0, 9.0),)), Grid(), success=True)
    replay.add(first)
    replay.add(second)
    assert len(replay) == 200
    indices = np.array([0, 99, 100])
    assert replay.batch(indices).last.tolist() == [False, True, False]
    after = replay.batch(indices, ahead=1)
    assert np.allclose(after.joints[:, 0], [0.1, 9.9, 0.1], atol=1e-5)
    assert after.human.tolist() == [False, False, True]


def rows_of(before, control, improved):
    """Rows of successes of 100, (known, new) each."""
    named = {"before": before, "control": control, "iwr": improved}
    return {n: Row(n, Score(known, 100), Score(new, 100)) for n, (known, new) in named.items()}


def test_the_verdicts_need_the_control_too():
    shown = verdicts(rows_of((98, 10), (99, 30), (98, 85)), "iwr", 60)
    assert all(shown.values())
    shown = verdicts(rows_of((98, 10), (99, 70), (98, 85)), "iwr", 60)
    assert not shown["25 points over the control"]
    assert shown["raised by 40 points where it failed"]
    assert all(verdicts(rows_of((98, 45), (99, 60), (96, 85)), "iwr", 79).values())


def test_what_is_lost_or_asked_for_too_often_is_told():
    shown = verdicts(rows_of((98, 10), (99, 30), (95, 85)), "iwr", 80)
    told = [what for what, holds in shown.items() if not holds]
    assert told == [
        "nothing lost on the half it knew",
        "fewer than 80 episodes with an intervention",
    ]


def test_the_table_shows_every_row():
    rows = list(rows_of((98, 10), (99, 30), (98, 85)).values())
    assert table(rows).count("\n") == 4
    assert "| control | 99/100 [95-100 %] | 30/100 [22-40 %] |" in table(rows)

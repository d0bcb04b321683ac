# SPDX-License-Identifier: Apache-2.0
"""Where exactly a motion stops being clear, and how often it is looked at, on a straight line."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from levine_policy_node.core import collision_rules
from levine_policy_node.core.collision_rules import first_breach, too_fast
from levine_policy_node.core.timeline import JointPoint

PERIOD_S = 0.01


@dataclass
class Line:
    """One joint moves a body and a hand along a line, a metre per radian; a wall is at 1 m."""

    margins: np.ndarray = field(default_factory=lambda: np.array([0.1]))
    reach: np.ndarray = field(default_factory=lambda: np.array([[1.0]]))
    hand_reach: np.ndarray = field(default_factory=lambda: np.array([1.0]))
    tool_speed: float = 1.0
    hand_share: float = 1.0
    looks: list[float] = field(default_factory=list)
    speed_looks: int = 0

    def distances(self, position):
        self.looks.append(float(position[0]))
        return np.array([1.0 - position[0]])

    def hand_speed(self, position, velocity):
        self.speed_looks += 1
        return float(self.hand_share * abs(velocity[0]))

    def say(self, pair, distance):
        return f"pair {pair} at {distance:.3f}"


def along(positions, velocities=None):
    positions = np.asarray(positions, dtype=np.float64)[:, None]
    still = np.zeros_like(positions)
    moving = still if velocities is None else np.asarray(velocities, dtype=np.float64)[:, None]
    return JointPoint(positions, moving, still)


def test_it_is_clear_up_to_the_margin_and_not_beyond():
    assert first_breach(along(np.linspace(0.0, 0.9, 10)), PERIOD_S, Line()) is None
    breach = first_breach(along(np.linspace(0.0, 0.95, 20)), PERIOD_S, Line())
    assert (breach.index, breach.text) == (18, "pair 0 at 0.050")
    breach = first_breach(along([0.0, 0.45, 0.901]), PERIOD_S, Line())
    assert (breach.index, breach.text) == (1, "pair 0 at 0.099")


def test_one_that_begins_at_the_margin_is_clear_and_one_beyond_it_is_not():
    assert first_breach(along([0.8999, 0.5]), PERIOD_S, Line()) is None
    breach = first_breach(along([0.901, 0.5]), PERIOD_S, Line())
    assert (breach.index, breach.text) == (0, "pair 0 at 0.099")


def test_one_that_may_leave_comes_no_nearer_than_two_millimetres():
    assert first_breach(along([0.95, 0.9515]), PERIOD_S, Line(), leaving=True) is None
    assert first_breach(along([0.95, 0.4]), PERIOD_S, Line(), leaving=True) is None
    breach = first_breach(along([0.95, 0.9525]), PERIOD_S, Line(), leaving=True)
    assert breach.index == 0
    # From where there is room the margin stands.
    breach = first_breach(along([0.8, 0.95]), PERIOD_S, Line(), leaving=True)
    assert (breach.index, breach.text) == (0, "pair 0 at 0.050")


def test_what_is_not_finite_is_not_clear():
    breach = first_breach(along([0.0, np.nan]), PERIOD_S, Line())
    assert (breach.index, breach.text) == (0, "the motion is not finite")


def test_a_way_and_back_between_two_looks_is_seen():
    # Both ends are clear; what lies between them is not.
    breach = first_breach(along([0.5, 0.95, 0.5]), PERIOD_S, Line())
    assert breach.index == 0


def test_few_looks_are_enough_where_there_is_room():
    line = Line()
    assert first_breach(along(np.linspace(-3.0, 0.0, 60)), PERIOD_S, line) is None
    assert len(line.looks) <= 3
    line = Line()
    assert first_breach(along([0.2]), PERIOD_S, line) is None
    assert line.looks == [0.2]


def test_the_bend_between_samples_counts():
    # Two samples 1 ms from the margin; at 800 rad/s^2 it may stray 10 mm between them.
    motion = along([0.899, 0.899])
    assert first_breach(motion, PERIOD_S, Line()) is None
    bent = JointPoint(motion.position, motion.velocity, np.array([[0.0], [800.0]]))
    assert first_breach(bent, PERIOD_S, Line()).index == 0
    bent = JointPoint(motion.position, motion.velocity, np.array([[-800.0], [0.0]]))
    assert first_breach(bent, PERIOD_S, Line()).index == 0
    # a T^2 / 4 for both ways: 2 mm of the room on both sides are just enough.
    enough = JointPoint(motion.position, motion.velocity, np.full((2, 1), 79.0))
    assert first_breach(enough, PERIOD_S, Line()) is None
    beyond = JointPoint(motion.position, motion.velocity, np.full((2, 1), 81.0))
    assert first_breach(beyond, PERIOD_S, Line()) is not None


def test_a_way_that_needs_too_many_looks_is_clear_as_far_as_was_looked(monkeypatch):
    monkeypatch.setattr(collision_rules, "_MOST_LOOKS", 3)
    narrow = along(np.linspace(0.85, 0.8999, 400))
    breach = first_breach(narrow, PERIOD_S, Line())
    assert breach.text == "the way is too long or too narrow to be checked in time"
    assert 0 < breach.index < 399


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_hand_may_be_a_hundredth_faster(sign):
    assert too_fast(along([0.0, 0.0], [0.0, sign * 1.0099]), Line()) is None
    found = too_fast(along([0.0, 0.0, 0.0], [0.0, 0.5, sign * 1.0101]), Line())
    assert (found.index, found.peak) == (1, pytest.approx(1.0101))
    assert found.text == "the hand would move at 1.01 m/s (limit 1 m/s)"


def test_the_peak_is_that_of_the_whole_motion():
    found = too_fast(along(np.zeros(4), [0.0, 1.5, 3.0, 2.0]), Line())
    assert (found.index, found.peak) == (0, 3.0)
    found = too_fast(along(np.zeros(2), [1.5, 2.0]), Line())
    assert (found.index, found.peak) == (0, 2.0)


def test_a_hand_that_cannot_be_too_fast_is_not_looked_at():
    line = Line()
    assert too_fast(along(np.zeros(5), np.full(5, 1.0)), line) is None
    assert line.speed_looks == 0


def test_a_hand_that_moves_less_than_its_joints_could_let_it_is_looked_at_again():
    # Its joint moves fast, the hand at half of that: allowed up to 2.02.
    line = Line(hand_share=0.5)
    assert too_fast(along(np.zeros(6), np.full(6, 1.9)), line) is None
    assert line.speed_looks == 1
    found = too_fast(along(np.zeros(6), [1.5, 1.5, 1.5, 1.9, 1.9, 2.1]), line)
    assert (found.index, found.peak) == (4, pytest.approx(1.05))


def test_a_hand_whose_speed_is_no_number_is_too_fast():
    line = Line()
    line.hand_speed = lambda position, velocity: np.nan
    assert too_fast(along(np.zeros(3), [0.0, 0.0, 1.5]), line).index == 1


def test_a_hand_that_is_too_fast_at_its_first_sample_only_is_seen():
    found = too_fast(along(np.zeros(3), [1.5, 0.5, 0.0]), Line())
    assert (found.index, found.peak) == (0, 1.5)


def test_a_hand_that_is_just_as_fast_as_it_may_be_is_not_too_fast():
    line = Line(hand_reach=np.array([2.0]))
    assert too_fast(along(np.zeros(3), [0.0, 1.0 * (1.0 + 0.01), 0.0]), line) is None
    assert line.speed_looks == 1


@pytest.mark.parametrize(("distances", "named"), [([np.nan, 0.05], 0), ([0.05, np.nan], 1)])
def test_of_several_the_one_that_nobody_can_judge_is_named(distances, named):
    line = Line(margins=np.array([0.1, 0.1]), reach=np.ones((2, 1)))
    line.distances = lambda position: np.array(distances)
    assert first_breach(along([0.0, 0.1]), PERIOD_S, line).text == f"pair {named} at nan"


def half(**changes):
    """A line whose margin leaves room in powers of two, so that bounds are met exactly."""
    return Line(margins=np.array([0.5]), **changes)


def test_with_no_room_left_it_is_still_clear():
    assert first_breach(along([0.5, 0.25]), PERIOD_S, half()) is None
    assert first_breach(along([0.25, 0.5]), PERIOD_S, half()) is None
    assert first_breach(along([0.5, 0.5]), PERIOD_S, half()) is None


def test_the_looks_are_where_twice_the_room_is_used_up():
    # A quarter at a time, away from the wall: from 1 m of room on, the eighth sample is hoped
    # for; there the room has grown to 3 m, so that the rest is sure.
    line = half()
    assert first_breach(along(-0.5 - 0.25 * np.arange(14)), PERIOD_S, line) is None
    assert line.looks == [-0.5, -2.5]


def test_what_may_have_been_between_is_told_where_what_is_seen_is_clear():
    # At 800 rad/s^2 it may stray 20 mm on the way there and back.
    bent = JointPoint(np.full((2, 1), 0.495), np.zeros((2, 1)), np.full((2, 1), 800.0))
    assert first_breach(bent, PERIOD_S, half()).text == "pair 0 at 0.490"
    # The same where there is no room left, but none is missing.
    bent = JointPoint(np.full((2, 1), 0.5), np.zeros((2, 1)), np.full((2, 1), 800.0))
    assert first_breach(bent, PERIOD_S, half()).text == "pair 0 at 0.480"


def test_a_bend_counts_on_both_sides_of_its_sample():
    # 10 mm of bend: before the second sample there is room for it, after it there is not.
    positions = np.array([[0.25], [0.49], [0.498], [0.25]])
    for bent in (1, 2):
        bend = np.zeros((4, 1))
        bend[bent] = 400.0
        breach = first_breach(JointPoint(positions, 0 * bend, bend), PERIOD_S, half())
        assert breach.index == 1


def test_no_more_is_looked_at_than_may_be(monkeypatch):
    # Along the wall, in and out: after every second sample there must be a look.
    beside = along(np.resize([0.49, 0.4999], 11))
    line = half()
    assert first_breach(beside, PERIOD_S, line) is None
    needed = len(line.looks)
    assert needed == 6
    for most in (2, 3, 4, 5, 6):
        monkeypatch.setattr(collision_rules, "_MOST_LOOKS", most)
        line = half()
        breach = first_breach(beside, PERIOD_S, line)
        assert len(line.looks) == most
        assert (breach is None) == (most == needed)

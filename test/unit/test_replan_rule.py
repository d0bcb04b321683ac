# SPDX-License-Identifier: Apache-2.0
"""When a policy infers, for any frames, inference times and chunks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.replan_rule import ReplanOptions, Requests, is_due, may_be_due
from levine_policy_node.core.units import StampNs

MS = 1_000_000
CHUNK = 1600 * MS
RULES = ("every", "at_once", "threshold")


@dataclass(frozen=True)
class Asked:
    """One inference: when it was asked for, from which frame, and when it could have been.

    `opened_ns` is when the last of its conditions came true: an answer, a frame, the timeline.
    """

    now_ns: int
    stamp_ns: int
    outstanding: bool


@dataclass
class World:
    """A policy that plays chunks of CHUNK, stepped every 10 ms."""

    options: ReplanOptions
    frame_ns: int
    latency_ns: list[int]
    playing: bool = True

    def run(self, duration_ns: int) -> list[Asked]:
        asked: list[Asked] = []
        last, answer_ns, ends_ns = None, None, None
        for now in range(0, duration_ns, 10 * MS):
            if answer_ns is not None and now >= answer_ns:
                ends_ns, answer_ns = last + CHUNK, None
            stamp = now // self.frame_ns * self.frame_ns
            requests = Requests(last, outstanding=answer_ns is not None)
            ends = ends_ns if self.playing else None
            if is_due(requests, StampNs(stamp), StampNs(now), ends, self.options):
                asked.append(Asked(now, stamp, requests.outstanding))
                last = StampNs(stamp)
                answer_ns = now + self.latency_ns[len(asked) % len(self.latency_ns)]
        return asked


options = st.builds(
    ReplanOptions,
    st.sampled_from(RULES),
    st.integers(1, 60).map(lambda k: k * 10 * MS),
    st.integers(0, 1).map(lambda k: k * 5 * MS),
    st.integers(0, 120).map(lambda k: k * 10 * MS),
)
worlds = st.builds(
    World,
    options,
    st.sampled_from((10, 30, 70)).map(lambda ms: ms * MS),
    st.lists(st.integers(0, 90).map(lambda k: k * 10 * MS), min_size=1, max_size=5),
    st.booleans(),
)


@given(worlds)
def test_one_request_at_a_time_from_ever_newer_observations(world):
    asked = world.run(5000 * MS)
    assert asked
    assert not any(a.outstanding for a in asked)
    stamps = [a.stamp_ns for a in asked]
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))


@given(worlds)
def test_it_is_never_later_than_its_rule_says(world):
    """Between two requests lie at most the inference, what the rule waits for, and a frame."""
    asked = world.run(5000 * MS)
    longest = max(world.latency_ns)
    period = world.options.period_ns
    if world.options.rule == "at_once":
        wait = longest
    elif world.options.rule == "every" or not world.playing:
        wait = max(longest, period)
    else:
        wait = max(longest, CHUNK - world.options.threshold_ns)
    for one, two in itertools.pairwise(asked):
        assert two.now_ns - one.now_ns <= wait + world.frame_ns + 20 * MS


@given(worlds)
def test_every_keeps_its_period_and_threshold_waits_for_it(world):
    asked = world.run(5000 * MS)
    rule = world.options
    for one, two in itertools.pairwise(asked):
        if rule.rule == "every" or (rule.rule == "threshold" and not world.playing):
            assert two.stamp_ns - one.stamp_ns >= rule.period_ns - rule.slack_ns
        elif rule.rule == "threshold":
            # The chunk of the first ends CHUNK after its observation.
            assert one.stamp_ns + CHUNK - two.now_ns <= rule.threshold_ns


def test_at_once_asks_with_the_first_frame_after_the_answer():
    world = World(ReplanOptions("at_once"), 30 * MS, [100 * MS])
    times = [a.now_ns // MS for a in world.run(400 * MS)]
    assert times == [0, 100, 200, 300]
    # Without a newer frame it waits for one.
    slow = World(ReplanOptions("at_once"), 70 * MS, [20 * MS])
    assert [a.now_ns // MS for a in slow.run(300 * MS)] == [0, 70, 140, 210, 280]


def test_a_clock_that_went_back_is_begun_again():
    for rule in RULES:
        options = ReplanOptions(rule, 200 * MS, 0, 100 * MS)
        assert is_due(Requests(StampNs(900 * MS)), StampNs(5 * MS), StampNs(9 * MS), None, options)


def test_nothing_may_be_due_while_an_answer_is_outstanding():
    for rule in RULES:
        asked = Requests(StampNs(0), outstanding=True)
        assert not may_be_due(asked, StampNs(10**12), ReplanOptions(rule))

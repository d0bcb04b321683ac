# SPDX-License-Identifier: Apache-2.0
"""The swap: one active policy at every moment, at most one beside it, and every one freed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.swap import (
    Compared,
    End,
    Ending,
    Failed,
    Free,
    Load,
    Loaded,
    Moment,
    Phase,
    Requested,
    SwapOptions,
    SwapState,
    Switch,
    obstacle,
    step,
    wants_shadow,
)

OPTIONS = SwapOptions(observations=2)
MOVING = SwapOptions(observations=2, in_motion=True, agreement_rad=0.1)
STANDING = Moment(moving=False, seam=False)
AT_SEAM = Moment(moving=True, seam=True)


def run(events, options=OPTIONS, state=None):
    state = state or SwapState()
    done = []
    for event in events:
        state, actions = step(state, event, options)
        done += actions
    return state, done


READY = [Requested(1), Loaded(1), Compared(1, 0.02), Compared(1, 0.05)]


def test_a_candidate_takes_over_at_standstill_after_its_shadow():
    state, done = run([*READY[:3], STANDING])
    assert done == [Load(1)]
    assert wants_shadow(state, OPTIONS)
    state, done = run([Compared(1, 9.0), STANDING], state=state)
    assert done == [Switch(1), Free(0), End(1, Ending.DONE)]
    assert state == SwapState(active=1)


def test_in_motion_it_waits_and_says_so():
    state, done = run([*READY, AT_SEAM])
    assert done == [Load(1)]
    assert state.phase is Phase.WAITING
    assert "waits for standstill" in obstacle(state, AT_SEAM, OPTIONS)
    assert run([STANDING], state=state)[1][0] == Switch(1)


def test_in_motion_it_takes_over_at_a_seam_if_it_agrees_and_may():
    state, done = run([*READY, Moment(moving=True, seam=False)], MOVING)
    assert done == [Load(1)]
    assert obstacle(state, Moment(moving=True, seam=False), MOVING) == "waits for a seam"
    assert run([AT_SEAM], MOVING, state)[1][0] == Switch(1)


@pytest.mark.parametrize("worst", [0.2, math.nan, math.inf])
def test_in_motion_it_must_agree_on_all_of_the_last_observations(worst):
    state, done = run([*READY, Compared(1, worst), AT_SEAM], MOVING)
    assert done == [Load(1)]
    assert "differs by" in obstacle(state, AT_SEAM, MOVING)
    assert wants_shadow(state, MOVING)
    state, done = run([Compared(1, 0.0), Compared(1, 0.0), AT_SEAM], MOVING, state)
    assert done[0] == Switch(1)


def test_without_shadow_it_never_takes_over_in_motion():
    options = SwapOptions(observations=0, in_motion=True, agreement_rad=10.0)
    state, done = run([Requested(1), Loaded(1), AT_SEAM], options)
    assert done == [Load(1)]
    assert run([STANDING], options, state)[1][0] == Switch(1)


def test_a_newer_request_replaces_the_candidate():
    state, done = run([*READY, Requested(2)])
    assert done[1:] == [Free(1), End(1, Ending.REPLACED, "a newer request came (2)"), Load(2)]
    assert state.candidate == 2
    assert run([Compared(1, 0.0), Loaded(1), Failed(1, "late")], state=state) == (state, [])


def test_requests_while_loading_wait_and_the_newest_wins():
    state, done = run([Requested(1), Requested(2), Requested(3)])
    assert [a.number for a in done] == [1, 2]
    state, done = run([Loaded(1)], state=state)
    assert done[0] == Free(1)
    assert done[1].ending is Ending.REPLACED
    assert done[2] == Load(3)


def test_a_failure_leaves_the_active_policy():
    state, done = run([Requested(1), Failed(1, "bad")])
    assert done == [Load(1), End(1, Ending.REFUSED, "bad")]
    assert state == SwapState()
    state, done = run([*READY, Failed(1, "not finite"), STANDING])
    assert done[1:] == [Free(1), End(1, Ending.REFUSED, "not finite")]
    assert state.active == 0


numbers = st.integers(0, 6)
events = st.one_of(
    st.just("request"),
    st.builds(Loaded, numbers),
    st.builds(Failed, numbers, st.just("x")),
    st.builds(Compared, numbers, st.floats(0, 0.3) | st.just(math.nan)),
    st.builds(Moment, st.booleans(), st.booleans()),
)
choices = st.builds(SwapOptions, st.integers(0, 3), st.booleans(), st.sampled_from([0.0, 0.1]))


class Ledger:
    """What is in memory, judged action by action."""

    def __init__(self):
        self.active = 0
        self.held = {0}
        self.ended = set()
        self.agreed = {}

    def note(self, state, event):
        if isinstance(event, Loaded):
            self.held.add(event.number)
            self.agreed[event.number] = []
        loaded = state.phase in {Phase.SHADOWING, Phase.WAITING}
        if isinstance(event, Compared) and event.number == state.candidate and loaded:
            self.agreed[event.number].append(event.worst_rad)

    def switch(self, action, event, options):
        assert action.number in self.held
        assert action.number != self.active
        if event.moving:
            assert event.seam
            assert options.in_motion
            last = self.agreed[action.number][-options.observations :]
            assert len(last) == options.observations > 0
            assert all(worst <= options.agreement_rad for worst in last)
        self.active = action.number

    def act(self, action, event, options):
        if isinstance(action, Switch):
            self.switch(action, event, options)
        elif isinstance(action, Free):
            self.held.remove(action.number)
            assert action.number != self.active
        elif isinstance(action, End):
            assert action.number not in self.ended
            self.ended.add(action.number)
            assert (action.ending is Ending.DONE) == (action.number == self.active)
        else:
            assert self.held == {self.active}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(events, choices), max_size=40))
def test_never_two_active_never_two_candidates_and_nothing_leaks(story):
    state, asked, ledger = SwapState(), 0, Ledger()
    for event, options in story:
        if event == "request":
            asked += 1
            event = Requested(asked)
        loading = state.candidate if state.phase is Phase.LOADING else None
        if isinstance(event, Loaded) and event.number != loading:
            continue  # only what is being loaded can be loaded
        ledger.note(state, event)
        before = state.active
        state, actions = step(state, event, options)
        for action in actions:
            ledger.act(action, event, options)
        assert state.active == ledger.active
        assert ledger.active in ledger.held
        assert len(ledger.held) <= 2
        assert state.active == before or isinstance(event, Moment)
    waiting = {n for n in (state.candidate, state.queued) if n is not None}
    assert ledger.ended | waiting == set(range(1, asked + 1))
    assert not ledger.ended & waiting
    loaded = {state.candidate} if state.phase in {Phase.SHADOWING, Phase.WAITING} else set()
    assert ledger.held == {ledger.active} | loaded

# SPDX-License-Identifier: Apache-2.0
"""How a chunk becomes the plan: worked out ahead, followed while that holds, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_acts import MS, NOW, Beside, moving
from test_supervisor import LIMITS, OPTIONS

from levine_policy_node.core.acts import (
    NO_CHUNK,
    follow_chunk,
    follow_prepared,
    prepare_chunk,
)
from levine_policy_node.core.modes import Mode
from levine_policy_node.core.motions import lead_time
from levine_policy_node.core.reference import Later, Prepared, Rejected
from levine_policy_node.core.supervision import SupervisorState
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.core.watch import Watch


def chunk_of(state: SupervisorState, *, off=0.0) -> Timeline:
    """What the policy says anew: the motion that is played, and on for longer."""
    begin_ns = SteadyNs(NOW - 30 * MS)
    times_s = np.linspace(0.0, 1.5, 31)
    rows = np.array(
        [state.plan.sample(SteadyNs(begin_ns + round(t * 1e9))).position for t in times_s]
    )
    rate = np.tile(state.plan.sample(NOW).velocity, (31, 1))
    source = "policy:p@0#2"
    return Timeline(LIMITS.names, begin_ns, times_s, rows + off, rate, 0.0 * rate, source)


def policy(rate=(0.2, 0.0, 0.0)) -> SupervisorState:
    state = moving(rate)
    return replace(state, mode=replace(state.mode, mode=Mode.POLICY))


def test_a_chunk_is_worked_out_ahead_only_for_a_policy_that_leads():
    state = policy()
    chunk = chunk_of(state)
    prepared = prepare_chunk(chunk, state, NOW, OPTIONS)
    assert isinstance(prepared, Prepared)
    assert prepared.chunk is chunk
    assert prepared.before is state.plan
    assert prepared.followed.splice_ns >= lead_time(NOW, OPTIONS) + 30 * MS
    later = prepare_chunk(chunk, state, NOW, OPTIONS, planning_s=0.1)
    assert later.followed.splice_ns >= lead_time(NOW, OPTIONS) + 100 * MS
    assert prepared.followed.splice_ns < later.followed.splice_ns
    paused = replace(state, mode=replace(state.mode, mode=Mode.PAUSED))
    for other in (paused, replace(state, plan=None), replace(paused, plan=None)):
        assert prepare_chunk(chunk, other, NOW, OPTIONS) is chunk
    # The tick says what is wrong with one that cannot be meant.
    old = replace(chunk, start_ns=SteadyNs(NOW - 9000 * MS))
    assert prepare_chunk(old, state, NOW, OPTIONS) is old


def with_reference(state: SupervisorState, prepared: Prepared) -> SupervisorState:
    return replace(state, reference=prepared.reference, watch=Watch(starving_ns=NOW))


def test_what_was_worked_out_ahead_is_followed_while_it_holds():
    state = policy()
    prepared = prepare_chunk(chunk_of(state), state, NOW, OPTIONS)
    ready = with_reference(state, prepared)
    followed, motion = follow_prepared(prepared, ready, NOW, OPTIONS)
    assert followed.plan is prepared.followed.plan
    assert motion is prepared.followed
    assert followed.watch.starving_ns is None
    # Until the controller has what the plan would change.
    last_ns = SteadyNs(motion.splice_ns - (lead_time(NOW, OPTIONS) - NOW))
    assert not isinstance(follow_prepared(prepared, ready, last_ns, OPTIONS), Later)
    after_ns = SteadyNs(last_ns + 1)
    assert isinstance(follow_prepared(prepared, ready, after_ns, OPTIONS), Later)
    # Another plan or another chunk since then.
    plan = replace(ready.plan)
    assert isinstance(follow_prepared(prepared, replace(ready, plan=plan), NOW, OPTIONS), Later)
    newer = replace(prepared.reference)
    for changes in ({"reference": newer}, {"reference": newer, "plan": plan}):
        changed = replace(ready, **changes)
        assert isinstance(follow_prepared(prepared, changed, NOW, OPTIONS), Later)
    # What is in the way stays so, however late.
    blocked = Rejected("a wall", on_its_way=True, blocked=True)
    wall = replace(prepared, followed=blocked)
    assert follow_prepared(wall, ready, after_ns, OPTIONS) is blocked


@pytest.mark.parametrize("missing", ["plan", "reference"])
def test_without_a_plan_or_a_chunk_there_is_nothing_to_follow(missing):
    state = policy()
    prepared = prepare_chunk(chunk_of(state), state, NOW, OPTIONS)
    without = replace(with_reference(state, prepared), **{missing: None})
    assert follow_chunk(without, NOW, OPTIONS) is NO_CHUNK
    assert follow_prepared(None, without, NOW, OPTIONS) is NO_CHUNK
    assert follow_prepared(prepared, without, NOW, OPTIONS) is NO_CHUNK


def test_a_chunk_that_was_not_prepared_is_looked_at_for_what_is_in_its_way():
    state = policy((0.2, 0.0, 0.0))
    prepared = prepare_chunk(chunk_of(state), state, NOW, OPTIONS)
    ready = with_reference(state, prepared)
    free, _ = follow_prepared(None, ready, NOW, OPTIONS)
    assert free.plan is not ready.plan
    near = replace(OPTIONS, obstacles=Beside())
    found = follow_prepared(None, ready, NOW, near)
    assert isinstance(found, Rejected | Later)

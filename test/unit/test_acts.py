# SPDX-License-Identifier: Apache-2.0
"""What going to a pose, taking over and handing back make of the supervisor's state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_supervisor import LIMITS, MS, OPTIONS, START
from test_supervisor_way import MARGIN, WALL, WALLED, Wall

from levine_policy_node.core.acts import (
    gone_to,
    prepare,
    taken_up,
)
from levine_policy_node.core.emission import proposal
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.motions import (
    _STOOD_TICKS,
    HOME_SOURCE,
    after_late_tick,
    after_overrun,
    armed_position,
    lead_time,
    stopped,
)
from levine_policy_node.core.plan import HOLD, STOP, Plan
from levine_policy_node.core.reference import Rejected
from levine_policy_node.core.supervision import (
    Inputs,
    Measured,
    SupervisorOptions,
    SupervisorState,
    Target,
)
from levine_policy_node.core.takeover import Handback, Lead, TakeoverOptions
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.core.watch import Watch

NOW = SteadyNs(20_000_000_000)
NOTHING = Inputs(ros_offset_ns=0)
SOURCE = "operator:test"


class Beside(Wall):
    """A wall that the arm is too near to, wherever it is."""

    def distances(self, position: np.ndarray) -> np.ndarray:
        del position
        return np.array([0.0])

    def say(self, pair: int, distance: float) -> str:
        del pair, distance
        return "beside is too near"


def standing(position=START) -> SupervisorState:
    return SupervisorState(plan=Plan.holding(LIMITS.names, np.asarray(position), NOW))


def moving(rate) -> SupervisorState:
    """The policy moves at a constant rate for a second and more."""
    times_s = np.array([0.0, 2.0])
    rate = np.asarray(rate, dtype=np.float64)
    rows = START + times_s[:, None] * rate
    still = np.zeros((2, 3))
    motion = Timeline(LIMITS.names, SteadyNs(NOW - 100 * MS), times_s, rows, still + rate, still)
    return SupervisorState(plan=Plan(motion, ((NOW - 100 * MS, "policy:p@0#1"),)))


def goes(state, pose, options=OPTIONS, **how) -> SupervisorState:
    gone = gone_to(state, np.asarray(pose), SOURCE, NOW, options, **how)
    assert isinstance(gone, SupervisorState)
    return gone


def assert_same(one: Plan, other: Plan) -> None:
    for name in ("start_ns", "times_s", "positions", "velocities", "accelerations"):
        values = (getattr(plan.timeline, name) for plan in (one, other))
        np.testing.assert_array_equal(*values)


def fastest(plan: Plan, joint: int) -> float:
    grid = range(int(NOW), plan.end_ns, 5 * MS)
    return max(abs(float(plan.sample(SteadyNs(t)).velocity[joint])) for t in grid)


@pytest.mark.parametrize("homing", [True, False])
def test_a_pose_with_nothing_in_its_way_is_gone_to(homing):
    pose = START + 0.2
    before = standing()
    gone = goes(before, pose, homing=homing)
    np.testing.assert_allclose(gone.plan.timeline.positions[-1], pose, atol=1e-9)
    assert gone.target is pose
    assert (gone.homing, gone.blocked) == (homing, "")
    splice_ns = before.plan.splice_time(lead_time(NOW, OPTIONS))
    assert gone.plan.source(splice_ns) == SOURCE
    # A wall that is far away changes nothing.
    away = START + np.array([-0.2, 0.0, 0.0])
    behind = goes(before, away, WALLED, homing=homing)
    assert behind.blocked == ""
    assert_same(behind.plan, goes(before, away, homing=homing).plan)


def test_where_there_is_no_motion_it_is_said():
    said = "there is no motion to it within the limits"
    nowhere = gone_to(SupervisorState(), START, SOURCE, NOW, OPTIONS)
    assert nowhere == Rejected(said)
    runaway = moving([50.0, 0.0, 0.0])
    assert gone_to(runaway, START, SOURCE, NOW, OPTIONS) == Rejected(said)


def test_a_pose_to_which_the_hand_would_be_too_fast_is_gone_to_gently():
    pose = START + np.array([0.0, 1.0, 0.0])
    slow = replace(OPTIONS, obstacles=Wall(tool_speed=0.2))
    free, gentle = goes(standing(), pose), goes(standing(), pose, slow)
    np.testing.assert_allclose(gentle.plan.timeline.positions[-1], pose, atol=1e-9)
    # 0.2 m/s at 0.4 m are 0.5 rad/s; freely it would be faster than 1 rad/s.
    assert fastest(free.plan, 1) > 1.0
    assert 0.4 < fastest(gentle.plan, 1) <= 0.505
    assert gentle.blocked == ""
    after_ns = SteadyNs(NOW + 200 * MS)
    assert gentle.plan.source(after_ns) == SOURCE
    assert gentle.target is pose


def test_limits_are_slowed_from_the_options_and_for_that_motion_alone():
    """A tighter joint that is not the hand's stays as tight."""
    tight = replace(LIMITS, velocity=np.array([0.1, 1.5, 2.0]))
    slow = replace(OPTIONS, limits=tight, obstacles=Wall(tool_speed=0.2))
    gentle = goes(standing(), START + np.array([-0.2, 1.0, 0.0]), slow)
    assert fastest(gentle.plan, 0) <= 0.1 + 1e-9
    assert fastest(gentle.plan, 1) <= 0.505


def test_a_pose_behind_the_wall_is_approached_by_a_person_and_no_home():
    pose = START + np.array([0.6, 0.0, 0.0])
    gone = goes(standing(), pose, WALLED)
    end = gone.plan.timeline.positions[-1]
    assert START[0] < end[0] <= WALL - MARGIN + 1e-9
    assert "the arm and the wall would be" in gone.blocked
    assert gone.target is pose
    home = gone_to(standing(), pose, HOME_SOURCE, NOW, WALLED, homing=True)
    assert home == Rejected(gone.blocked, on_its_way=True, blocked=True)


def test_a_pose_in_whose_direction_nothing_is_clear_stops_the_arm():
    before, close = moving([0.4, 0.0, 0.0]), replace(OPTIONS, obstacles=Beside())
    gone = goes(before, START + 0.1, close)
    assert_same(gone.plan, stopped(before.plan, NOW, close))
    assert gone.plan.marks[-1][1] == STOP
    assert gone.blocked == "beside is too near in 0.00 s"


def taken(state: SupervisorState, options: SupervisorOptions = OPTIONS, **target):
    told = Target(**{"position": START, "source": SOURCE, "received_ns": NOW, **target})
    gone = prepare(Event.TAKEOVER, state, NOW, replace(NOTHING, target=told), options)
    assert isinstance(gone, SupervisorState)
    return gone


def test_a_takeover_brakes_and_leads_from_where_the_brake_ends():
    before = replace(moving([0.4, 0.0, 0.0]), handed=Handback("policy:p", NOW), blocked="a wall")
    gone = taken(before)
    braking = stopped(before.plan, NOW, OPTIONS)
    rest = braking.timeline.positions[-1]
    assert_same(gone.plan, braking)
    # What was the policy's stays so; the brake is the person's.
    assert gone.plan.marks == tuple((t, SOURCE if s == STOP else s) for t, s in braking.marks)
    assert [s for _, s in gone.plan.marks] == ["policy:p@0#1", SOURCE]
    np.testing.assert_array_equal(gone.target, rest)
    np.testing.assert_allclose(gone.lead.goal, rest, atol=1e-12)
    assert (gone.lead.source, gone.lead.heard_ns) == (SOURCE, NOW)
    assert (gone.handed, gone.blocked) == (None, "")


def test_after_a_handback_no_chunk_of_before_is_followed():
    before = replace(standing(), reference=moving([0.1, 0.0, 0.0]).plan.timeline)
    back = prepare(Event.HANDBACK, before, NOW, NOTHING, OPTIONS)
    assert back.reference is None
    assert back.handed == Handback(before.reference.source, NOW)


def test_a_takeover_fades_at_the_speed_of_the_options():
    slow, fast = (TakeoverOptions(fade_share=share) for share in (0.1, 0.2))
    away = START + np.array([0.5, 0.0, 0.0])
    gone = [taken(standing(), replace(OPTIONS, takeover=o), position=away) for o in (slow, fast)]
    fades_s = [float(state.lead.fade_s[0]) for state in gone]
    assert fades_s == pytest.approx([1.875 * 0.5 / 0.2, 1.875 * 0.5 / 0.4])


@pytest.mark.parametrize("joint", range(3))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_was_held_is_taken_up_again_where_the_arm_hangs_near_it(joint, sign):
    options = replace(OPTIONS, resume_distance=0.25)
    away = np.zeros(3)
    away[joint] = sign * 0.25
    held = standing(np.array([0.5, 0.5, 0.5]))
    near = held.plan.timeline.positions[-1] + away
    np.testing.assert_array_equal(armed_position(held, near, options), np.full(3, 0.5))
    far = near + 0.01 * away
    np.testing.assert_allclose(armed_position(held, far, options), far)
    np.testing.assert_allclose(armed_position(SupervisorState(), near, options), near)


def test_what_is_asked_for_is_of_who_leads():
    command, goal = JointPoint.at_rest(START), START + 0.3
    hold = standing()
    still = np.zeros(3)
    lead = Lead(SOURCE, NOW, goal, still == 0.0, still, still.astype(np.int64), still)

    def asked(mode, state=hold, **changes):
        state = replace(state, mode=replace(state.mode, mode=mode), **changes)
        point, source = proposal(state, command, NOW, OPTIONS)
        return point.position, source

    def same(found, position, source):
        np.testing.assert_array_equal(found[0], position)
        assert found[1] == source

    rate = moving([0.4, 0.0, 0.0])
    chunk = replace(rate.plan.timeline, source="policy:p@0#7")
    same(
        asked(Mode.POLICY, rate, reference=chunk),
        START + np.array([0.04, 0.0, 0.0]),
        "policy:p@0#7",
    )
    # One that does not reach until now asks for nothing.
    old = replace(chunk, start_ns=SteadyNs(NOW - 9000 * MS))
    same(asked(Mode.POLICY, rate, reference=old), START, "policy:p@0#1")
    same(asked(Mode.PAUSED, rate, reference=chunk, lead=lead), START, "policy:p@0#1")
    same(asked(Mode.HUMAN, lead=lead), goal, SOURCE)
    same(asked(Mode.HUMAN, lead=lead, homing=True), OPTIONS.home, HOME_SOURCE)
    same(asked(Mode.PAUSED, lead=lead, homing=True), START, HOLD)
    same(asked(Mode.HUMAN), START, HOLD)
    same(asked(Mode.HUMAN, plan=None), START, HOLD)


def on_time(late_ms=0.0, left_ms=500.0, **changes) -> SupervisorState:
    """Last ticked so much more than a tick ago; its plan ends so long after now."""
    state = moving([0.4, 0.0, 0.0])
    end_ns = NOW + round(left_ms * MS)
    motion = replace(state.plan.timeline, start_ns=SteadyNs(end_ns - 2000 * MS))
    ticked_ns = SteadyNs(NOW - round((10 + late_ms) * MS))
    plan = Plan(motion, ((int(motion.start_ns), "policy:p@0#1"),))
    return replace(state, plan=plan, ticked_ns=ticked_ns, ticks=((0, START),), **changes)


def test_after_a_late_tick_the_plan_of_single_positions_goes_on_where_it_was():
    single = replace(OPTIONS, sends_windows=False)
    # Half a tick is no delay.
    assert after_late_tick(on_time(5.0), NOW, single) is None
    late = on_time(5.001)
    moved = after_late_tick(late, NOW, single)
    assert moved.timeline.start_ns == late.plan.timeline.start_ns + 5_001_000
    due_ns = SteadyNs(late.ticked_ns + 10 * MS)
    np.testing.assert_allclose(moved.sample(NOW).position, late.plan.sample(due_ns).position)
    # Where it was over when the tick was due there is nothing to go on with.
    assert after_late_tick(on_time(20.0, left_ms=-20.0), NOW, single) is None
    assert after_late_tick(on_time(20.0, left_ms=-19.999), NOW, single) is not None
    # A controller with windows went on by itself.
    assert after_late_tick(late, NOW, OPTIONS) is None
    for missing in ({"plan": None}, {"ticked_ns": None}, {"ticks": ()}):
        assert after_late_tick(replace(late, **missing), NOW, single) is None


def test_what_is_commanded_begins_where_the_arm_stands():
    inputs = replace(NOTHING, ros_offset_ns=77, measured=Measured(START + 0.2, START, NOW))
    before = replace(standing(), sent=moving([0.1, 0.0, 0.0]).plan.timeline, ticks=((0, START),))
    armed = taken_up(before, NOW, inputs, OPTIONS)
    np.testing.assert_allclose(armed.plan.sample(NOW).position, START + 0.2)
    assert (armed.sent, armed.ticks, armed.offset_ns) == (None, (), 77)
    unseen = taken_up(before, NOW, NOTHING, OPTIONS)
    assert unseen == Rejected("no joint_states have been received")


def test_a_reset_forgets_what_may_be_forgotten():
    faults = dict.fromkeys((Fault.TRACKING, Fault.STARVED, Fault.POLICY_LOST, Fault.GATE_TRIPPED))
    watch = Watch(bad_chunks=3, tracking_since_ns=NOW, count=5)
    state = replace(standing(), faults=dict.fromkeys(faults, "seen"), watch=watch)
    reset = prepare(Event.RESET, state, NOW, NOTHING, OPTIONS)
    assert reset.faults == {Fault.GATE_TRIPPED: "seen"}
    assert reset.watch == Watch(count=5)


def test_only_a_takeover_takes_over():
    told = replace(NOTHING, target=Target(START, SOURCE, NOW))
    assert prepare(Event.PAUSE, standing(), NOW, told, OPTIONS).lead is None


def test_after_a_gap_the_controller_is_in_the_brake_of_its_last_window():
    state = replace(on_time(), sent=moving([0.4, 0.0, 0.0]).plan.timeline)
    lead_ns = lead_time(NOW, OPTIONS)
    assert after_overrun(replace(state, sent_until_ns=int(lead_ns)), NOW, OPTIONS) is None
    late = replace(state, sent_until_ns=int(lead_ns) - 1, ticked_ns=SteadyNs(NOW - 70 * MS))
    overrun = after_overrun(late, NOW, OPTIONS)
    assert overrun.plan == Plan(state.sent, ((int(state.sent.start_ns), STOP),))
    assert overrun.gap_s == pytest.approx(0.07)
    for missing in ("plan", "sent", "ticked_ns"):
        assert after_overrun(replace(late, **{missing: None}), NOW, OPTIONS) is None
    # Since a clock step there is no window that could run out.
    stepped = replace(late, faults={Fault.CLOCK_STEPPED: "the clock stepped"})
    assert after_overrun(stepped, NOW, OPTIONS) is None


def test_after_a_gap_a_controller_of_single_positions_stands_at_the_last():
    single = replace(OPTIONS, sends_windows=False)
    state = replace(on_time(), ticks=((0, START - 1.0), (1, START)))
    punctual = replace(state, ticked_ns=SteadyNs(NOW - round(_STOOD_TICKS * 10 * MS)))
    assert after_overrun(punctual, NOW, single) is None
    late = replace(punctual, ticked_ns=SteadyNs(punctual.ticked_ns - 1))
    overrun = after_overrun(late, NOW, single)
    assert_same(overrun.plan, Plan.holding(LIMITS.names, START, NOW))
    assert overrun.plan.source(NOW) == HOLD
    assert overrun.gap_s == pytest.approx(_STOOD_TICKS * 0.01)
    for missing in ({"plan": None}, {"ticked_ns": None}, {"ticks": ()}):
        assert after_overrun(replace(late, **missing), NOW, single) is None
    # An arm that stood anyway has lost nothing.
    stood = replace(late, plan=standing().plan)
    assert after_overrun(stood, NOW, single) is None

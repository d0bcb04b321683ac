# SPDX-License-Identifier: Apache-2.0
"""What the tables never let happen is answered all the same, and never with a motion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from test_supervisor import OPTIONS, START, Rig
from test_supervisor_way import MARGIN, WALL, WALLED

from levine_policy_node.core.acts import NO_CHUNK, follow_chunk, follow_prepared, gone_to, prepare
from levine_policy_node.core.collision_rules import first_breach, too_fast
from levine_policy_node.core.dead_man import Act, DeadMan
from levine_policy_node.core.emission import emission, fallback, window_due
from levine_policy_node.core.endings import ending, starvation
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.motions import HOME_SOURCE, lead_time, stopped
from levine_policy_node.core.plan import HOLD, STOP, Plan, with_brake
from levine_policy_node.core.reference import Rejected, follow, to_steady
from levine_policy_node.core.shaper import brake, rejoin
from levine_policy_node.core.supervision import Inputs, Measured, SupervisorState, Target
from levine_policy_node.core.takeover import Handback
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.timeline_cuts import without_short_segments
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.core.watchdogs import causes_seen

NOW = SteadyNs(10_000_000_000)
NOTHING = Inputs(ros_offset_ns=0)
LIMITS = JointLimits(
    names=("pan",),
    lower=np.array([-1.0]),
    upper=np.array([1.0]),
    velocity=np.array([1.0]),
    acceleration=np.array([4.0]),
    jerk=np.array([40.0]),
)


def straight(speed: float, duration_s: float, begin: float = 0.0) -> Timeline[SteadyNs]:
    """One joint at a constant speed [rad/s]."""
    times_s = np.array([0.0, duration_s])
    still = np.zeros((2, 1))
    positions = begin + speed * times_s[:, None]
    return Timeline(("pan",), NOW, times_s, positions, still + speed, still)


def test_without_a_plan_or_a_chunk_nothing_is_followed():
    state = SupervisorState()
    assert follow_chunk(state, NOW, OPTIONS) is NO_CHUNK
    assert follow_prepared(None, state, NOW, OPTIONS) is NO_CHUNK
    assert prepare(Event.ENGAGE, state, NOW, NOTHING, OPTIONS) is NO_CHUNK


def test_without_joint_states_nothing_is_armed():
    refused = prepare(Event.ARM, SupervisorState(), NOW, NOTHING, OPTIONS)
    assert isinstance(refused, Rejected)
    assert "no joint_states" in refused.reason


def test_without_a_plan_there_is_nothing_to_take_over():
    state = SupervisorState()
    target = Target(START, "operator:test", NOW)
    inputs = replace(NOTHING, target=target)
    assert prepare(Event.TAKEOVER, state, NOW, inputs, OPTIONS) is state
    # Nor does one without a device, or an act that needs nothing, change anything.
    assert prepare(Event.TAKEOVER, state, NOW, NOTHING, OPTIONS) is state
    assert prepare(Event.PAUSE, state, NOW, NOTHING, OPTIONS) is state


def test_home_is_not_set_out_for_where_the_first_step_is_blocked():
    beside, beyond = START.copy(), START.copy()
    beside[0], beyond[0] = WALL - MARGIN, WALL + 0.2
    state = SupervisorState(plan=Plan.holding(OPTIONS.limits.names, beside, NOW))
    refused = gone_to(state, beyond, HOME_SOURCE, NOW, WALLED, homing=True)
    assert isinstance(refused, Rejected)
    assert "the arm and the wall" in refused.reason


def test_a_press_can_ask_for_a_pause():
    state, _ = DeadMan().next(held=True, mode="POLICY")
    state, _ = state.next(held=True, mode="HUMAN")
    state, act = state.next(held=True, mode="HUMAN", acts=frozenset({Act.PAUSE}))
    assert act is Act.PAUSE


def test_after_a_trip_single_positions_are_held_where_they_are():
    held = fallback(SupervisorState(ticks=((int(NOW), START),)), NOW, OPTIONS)
    assert held is not None
    assert held.source(NOW) == HOLD
    assert np.array_equal(held.sample(NOW).position, START)
    assert fallback(SupervisorState(), NOW, OPTIONS) is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_target_out_of_range_is_gone_to_as_far_as_the_range_goes(sign):
    state = SupervisorState(plan=Plan.holding(OPTIONS.limits.names, START, NOW))
    gone = gone_to(state, np.full(3, sign * 9.0), HOME_SOURCE, NOW, OPTIONS)
    assert isinstance(gone, SupervisorState)
    ends = OPTIONS.limits.upper if sign > 0 else OPTIONS.limits.lower
    np.testing.assert_allclose(gone.plan.timeline.positions[-1], ends, atol=1e-9)


def test_where_no_brake_fits_yet_the_plan_goes_on_until_one_does():
    stop = brake(JointPoint(np.zeros(1), np.ones(1), np.zeros(1)), LIMITS, NOW)
    assert stop is not None
    # Its end is at the new limit, and it brakes harder than may be braked now.
    tighter = replace(LIMITS, upper=stop.positions[-1] + 1e-9, acceleration=np.array([2.0]))
    plan = Plan(stop, ((int(NOW), "policy:p@0#1"),))
    options = replace(OPTIONS, limits=tighter, home=np.zeros(1), exempt=np.zeros(1, dtype=bool))
    later = stopped(plan, NOW, options)
    assert later.marks[-1][0] > lead_time(NOW, options)
    assert np.all(later.timeline.positions <= tighter.upper + 1e-12)
    assert later.end_ns >= plan.end_ns


def test_a_motion_that_cannot_be_braked_anywhere_has_no_safe_end():
    motion = straight(1.0, 0.5, begin=0.99 - 0.5)
    narrow = replace(LIMITS, lower=np.array([0.4]), upper=np.array([0.5]))
    assert with_brake(motion, narrow, NOW) is None


def test_a_reference_that_runs_away_is_not_joined():
    away = straight(3.0, 10.0, begin=0.5)
    wide = replace(LIMITS, lower=np.array([-100.0]), upper=np.array([100.0]))
    still = JointPoint.at_rest(np.zeros(1))
    assert rejoin(still, away, NOW, wide) is None


def test_the_newest_of_what_the_policy_asked_for():
    assert SupervisorState().newest is None
    rig = Rig().moving()
    assert rig.state.newest is rig.state.reference


def test_a_line_that_was_heard_and_fell_silent_is_told_from_one_that_never_was():
    watched = replace(OPTIONS, estop_heartbeat_s=0.1)
    never = causes_seen(SupervisorState(), NOW, NOTHING, watched)
    assert never[Fault.ESTOP_SILENT] == "nothing on estop"
    before = SteadyNs(NOW - 300_000_000)
    silent = causes_seen(
        SupervisorState(), NOW, replace(NOTHING, estop_received_ns=before), watched
    )
    assert "estop: nothing for 300 ms" in silent[Fault.ESTOP_SILENT]


@dataclass(frozen=True)
class Narrow:
    """A gap that stays as it is, and a hand that moves at a third of what the joints let it."""

    tool_speed: float = np.inf
    room: float = 1e-4
    margins = np.array([0.01])
    reach = np.array([[1.0]])
    hand_reach = np.array([1.0])

    def distances(self, position: np.ndarray) -> np.ndarray:
        del position
        return self.margins + self.room

    def hand_speed(self, position: np.ndarray, velocity: np.ndarray) -> float:
        del position
        return abs(float(velocity[0])) / 3.0

    def say(self, pair: int, distance: float) -> str:
        return f"{pair} at {distance}"


def moving(speed: float, samples: int) -> JointPoint:
    """One joint at a constant speed [rad/s], every 10 ms."""
    positions = speed * 0.01 * np.arange(samples)[:, None]
    still = np.zeros((samples, 1))
    return JointPoint(positions, still + speed, still)


def test_a_way_that_cannot_be_checked_in_time_is_not_clear():
    breach = first_breach(moving(0.015, 400), 0.01, Narrow())
    assert breach is not None
    assert "too long or too narrow" in breach.text
    assert breach.index < 399


def test_a_hand_is_looked_at_again_until_it_cannot_be_too_fast():
    assert too_fast(moving(1.0, 50), Narrow(tool_speed=0.5)) is None
    fast = too_fast(moving(2.0, 50), Narrow(tool_speed=0.5))
    assert fast is not None
    assert fast.peak == 2.0 / 3.0


def test_a_single_point_is_no_chunk():
    still = np.zeros((1, 1))
    point = Timeline(("pan",), StampNs(int(NOW) + 1), np.zeros(1), still, still, still)
    refused = to_steady(point, 0, NOW)
    assert isinstance(refused, Rejected)
    assert "single point" in refused.reason
    assert without_short_segments(point, 0.01) is point


def test_a_chunk_on_which_the_arm_could_not_be_stopped_is_refused():
    # Brakes a little harder than a brake of ours would, and ends at the limit.
    stop = brake(JointPoint(np.zeros(1), np.ones(1), np.zeros(1)), LIMITS.scaled(1.005), NOW)
    assert stop is not None
    limits = replace(LIMITS, upper=stop.positions[-1] + 1e-9)
    plan = Plan(stop, ((int(NOW), "policy:p@0#1"),))
    chunk = stop.window(SteadyNs(NOW + 20_000_000), SteadyNs(NOW + 160_000_000))
    refused = follow(plan, chunk, NOW, 0.05, limits)
    assert isinstance(refused, Rejected)
    assert "could not be stopped" in refused.reason


def test_a_stop_is_no_new_press():
    held, act = DeadMan().next(held=True, mode="POLICY", acts=frozenset({Act.STOP}))
    assert act is Act.STOP
    assert held == DeadMan(held=True, wanting=False, leading=False)
    assert held.next(held=True, mode="POLICY") == (held, None)


def test_only_the_device_that_leads_pauses_when_let_go():
    asked, act = DeadMan().next(held=True, mode="POLICY")
    assert act is Act.TAKEOVER
    leads, act = asked.next(held=True, mode="HUMAN")
    assert (leads.leading, act) == (True, None)
    assert leads.next(held=False, mode="HUMAN") == (DeadMan(), Act.PAUSE)
    # Another device leads, or the mode was left meanwhile.
    assert DeadMan(held=True).next(held=False, mode="HUMAN") == (DeadMan(), None)
    assert leads.next(held=False, mode="POLICY") == (DeadMan(), None)


def test_one_that_lost_the_lead_hands_nothing_back():
    leads = DeadMan(held=True, leading=True)
    now, act = leads.next(held=True, mode="PAUSED", acts=frozenset({Act.HANDBACK, Act.PAUSE}))
    assert (now, act) == (DeadMan(held=True), None)
    assert now.next(held=True, mode="HUMAN", acts=frozenset({Act.HANDBACK}))[1] is None


def test_after_a_trip_the_window_that_was_sent_is_the_plan_and_a_stop():
    sent = straight(0.5, 0.3)
    state = SupervisorState(sent=sent, ticks=((int(NOW), START),))
    assert fallback(state, NOW, OPTIONS) == Plan(sent, ((int(NOW), STOP),))


def test_a_plan_that_is_put_off_is_the_same_motion_later():
    motion = straight(0.5, 0.3)
    plan = Plan(motion, ((int(NOW), "policy:p@0#1"), (NOW + 200_000_000, STOP)), NOW + 50_000_000)
    later = plan.delayed(30_000_000)
    assert later.marks == ((NOW + 30_000_000, "policy:p@0#1"), (NOW + 230_000_000, STOP))
    assert later.joined_ns == NOW + 80_000_000
    assert later.timeline.start_ns == NOW + 30_000_000
    after = SteadyNs(NOW + 100_000_000)
    assert later.sample(SteadyNs(after + 30_000_000)).position == plan.sample(after).position


def test_what_ran_out_is_told_in_figures():
    now_ns = SteadyNs(NOW + 1_500_000_000)
    assert starvation(straight(0.1, 0.8), now_ns) == (
        "the newest chunk is over; braking. It began 1.50 s ago and lasted 0.80 s"
    )


def test_a_handback_before_any_chunk_has_no_source():
    state = prepare(Event.HANDBACK, SupervisorState(), NOW, NOTHING, OPTIONS)
    assert isinstance(state, SupervisorState)
    assert state.handed == Handback("", NOW)


@pytest.mark.parametrize("played_ns", [-1, 0, 1])
def test_a_stop_is_overdue_once_the_brake_is_played(played_ns):
    motion = straight(0.0, 0.5)
    stopping = replace(
        SupervisorState(),
        mode=replace(SupervisorState().mode, mode=Mode.STOPPING),
        plan=Plan(motion, ((int(NOW), STOP),)),
        faults={Fault.STOP_OVERDUE: "the arm still moves"},
    )
    now_ns = SteadyNs(motion.end_ns + played_ns)
    inputs = replace(NOTHING, measured=Measured(START, np.full(3, 0.5), now_ns))
    ended = ending(stopping, stopping.mode, now_ns, inputs, OPTIONS)
    overdue = (Event.OVERDUE, "braking is over and the arm still moves")
    assert ended == (overdue if played_ns >= 0 else None)
    without = replace(stopping, plan=None)
    assert ending(without, without.mode, now_ns, inputs, OPTIONS) == overdue


@pytest.mark.parametrize("windows", [True, False])
def test_a_window_is_due_a_quarter_of_its_period_early(windows):
    options = replace(OPTIONS, command_period_s=0.02, sends_windows=windows)
    sent = SupervisorState(sent_ns=NOW)
    for after_ns, due in ((0, False), (14_999_999, False), (15_000_000, True), (20_000_000, True)):
        # Single positions are sent with every tick.
        assert window_due(sent, SteadyNs(NOW + after_ns), options) == (due or not windows)


def test_after_a_clock_step_a_plan_that_is_over_is_not_told_to_rest():
    stepped = {Fault.CLOCK_STEPPED: "the clock stepped"}
    stopping = replace(SupervisorState().mode, mode=Mode.STOPPING)
    motion = straight(0.0, 0.4)
    state = SupervisorState(mode=stopping, plan=Plan(motion, ((int(NOW), STOP),)), faults=stepped)
    before = replace(state, faults={})
    over = emission(state, before, SteadyNs(motion.end_ns), OPTIONS)
    assert over.rest is None
    sent = emission(state, before, SteadyNs(motion.end_ns - 100_000_000), OPTIONS)
    assert sent.rest.duration_s == pytest.approx(0.15)
    np.testing.assert_array_equal(sent.rest.position, motion.positions[-1])
    # It is told once.
    assert emission(state, state, SteadyNs(motion.end_ns - 100_000_000), OPTIONS).rest is None

# SPDX-License-Identifier: Apache-2.0
"""What each watchdog says, and from exactly when or where on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_supervisor import LIMITS, MS, OPTIONS, START

from levine_policy_node.core import watchdogs as dogs
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Mode
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.supervision import (
    Heartbeat,
    Inputs,
    Measured,
    SupervisorOptions,
    SupervisorState,
    Target,
)
from levine_policy_node.core.surroundings import Reference, Surroundings
from levine_policy_node.core.takeover import Handback, Lead
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.core.watch import Watch

NOW = SteadyNs(50_000_000_000)
NOTHING = Inputs(ros_offset_ns=0)
STILL = SupervisorState(plan=Plan.holding(LIMITS.names, START, SteadyNs(NOW - 1000 * MS)))
# A power of two, so that it can be met exactly.
TRACKED = replace(OPTIONS, tracking_tolerance=0.25, frozen_motion=0.25)


def ago(age_ms: float) -> SteadyNs:
    return SteadyNs(NOW - round(age_ms * MS))


def measured(position=START, *, velocity=(0.0, 0.0, 0.0), effort=None, age_ms=2.0) -> Measured:
    rows = (np.asarray(row, dtype=np.float64) for row in (position, velocity))
    return Measured(*rows, ago(age_ms), None if effort is None else np.asarray(effort))


def seen(state=STILL, options=OPTIONS, **inputs) -> dict[Fault, str]:
    return dogs.causes_seen(state, NOW, replace(NOTHING, **inputs), options)


def in_mode(mode: Mode, state=STILL, **changes) -> SupervisorState:
    return replace(state, mode=replace(state.mode, mode=mode), **changes)


SILENT = [
    (Fault.JOINT_STATES_LOST, "joint_states", lambda at: {"measured": Measured(START, START, at)}),
    (Fault.POLICY_LOST, "policy/heartbeat", lambda at: {"heartbeat": Heartbeat(1, at)}),
    (Fault.OPERATOR_LOST, "operator/target", lambda at: {"target": Target(START, "a", at)}),
    (Fault.ESTOP_SILENT, "estop", lambda at: {"estop_received_ns": at}),
    (Fault.ENABLE_LOST, "enable", lambda at: {"around": Surroundings(enable_ns=at)}),
]
TIMEOUT = replace(
    OPTIONS,
    joint_state_timeout_s=0.08,
    policy_timeout_s=0.08,
    target_timeout_s=0.08,
    estop_heartbeat_s=0.08,
    enable_timeout_s=0.08,
)


@pytest.mark.parametrize(("fault", "topic", "heard"), SILENT)
def test_each_silence_is_told_once_it_is_longer_than_its_limit(fault, topic, heard):
    assert fault not in seen(options=TIMEOUT, **heard(ago(80)))
    said = seen(options=TIMEOUT, **heard(ago(81)))
    assert said[fault] == f"{topic}: nothing for 81 ms (limit 80 ms)"


def test_an_age_is_told_in_milliseconds():
    slow = replace(TIMEOUT, policy_timeout_s=2.0)
    said = seen(options=slow, heartbeat=Heartbeat(1, ago(5000)))[Fault.POLICY_LOST]
    assert said == "policy/heartbeat: nothing for 5000 ms (limit 2000 ms)"


def test_the_controller_is_judged_with_the_others():
    said = seen(around=Surroundings(reference_ns=ago(101)))[Fault.CONTROLLER_LOST]
    assert said == "the controller has said nothing for 101 ms (limit 100 ms)"
    led_away = Surroundings(references=(Reference(START + 0.5, ago(0), ago(0)),))
    ticks = tuple((int(ago(ms)), START) for ms in range(500, -1, -10))
    watch = remembered(in_mode(Mode.POLICY, ticks=ticks), around=led_away)
    assert [verdict.stands for verdict in watch.controller.verdicts] == [False]


def test_what_was_never_heard_is_told_so():
    said = seen(options=TIMEOUT)
    assert said[Fault.JOINT_STATES_LOST] == "no joint_states have been received"
    assert said[Fault.POLICY_LOST] == "no policy/heartbeat has been received"
    assert said[Fault.OPERATOR_LOST] == "no operator/target has been received"
    assert said[Fault.ESTOP_SILENT] == "nothing on estop"
    assert said[Fault.ENABLE_LOST] == "nothing on enable"
    unwatched = seen(options=replace(TIMEOUT, estop_heartbeat_s=0.0, enable_timeout_s=0.0))
    assert not unwatched.keys() & {Fault.ESTOP_SILENT, Fault.ENABLE_LOST}


def test_what_says_no_is_told_so():
    said = seen(estop=True, around=Surroundings(enable=False))
    assert said[Fault.ESTOP_PRESSED] == "estop is true"
    assert said[Fault.ENABLE_LOST] == "enable is false"
    around = Surroundings(policy_problem="camera a: dark", flood="joint_states: too many")
    said = seen(around=around, seen={Fault.OVERRUN: "elsewhere"})
    assert said[Fault.OBSERVATION_BAD] == "camera a: dark"
    assert said[Fault.MESSAGE_FLOOD] == "joint_states: too many"
    assert said[Fault.OVERRUN] == "elsewhere"
    assert Fault.ESTOP_PRESSED not in said


def test_a_device_that_does_not_lead_does_not_keep_the_one_that_does_alive():
    still = np.zeros(3)
    named = np.ones(3, dtype=bool)
    lead = Lead("leader", ago(91), START, named, still, np.zeros(3, dtype=np.int64), still)
    state = in_mode(Mode.HUMAN, lead=lead)
    fresh = {"target": Target(START, "gamepad", ago(1))}
    text = "operator/target of leader: nothing for 91 ms (limit 90 ms)"
    assert seen(state, **fresh)[Fault.OPERATOR_LOST] == text
    assert seen(state)[Fault.OPERATOR_LOST] == text
    alive = replace(state, lead=replace(lead, heard_ns=ago(90)))
    assert Fault.OPERATOR_LOST not in seen(alive, **fresh)
    assert Fault.OPERATOR_LOST not in seen(state, target=Target(START, "leader", ago(1)))
    assert Fault.OPERATOR_LOST not in seen(replace(state, homing=True))


@pytest.mark.parametrize("publishers", [0, 1, 2, 3])
def test_one_publisher_is_allowed(publishers):
    said = seen(publishers=publishers)
    text = f"{publishers} publishers on the controller's command topic, 1 allowed"
    assert said.get(Fault.FOREIGN_PUBLISHER) == (text if publishers > 1 else None)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_of_the_clock_is_told_beyond_its_tolerance(sign):
    state = replace(STILL, offset_ns=10**18)
    assert Fault.CLOCK_STEPPED not in seen(state, ros_offset_ns=10**18 + sign * 50 * MS)
    said = seen(state, ros_offset_ns=10**18 + sign * 51 * MS)[Fault.CLOCK_STEPPED]
    assert said == f"the ROS clock moved by {sign * 0.051:+.3f} s against the steady clock"


def test_a_policy_that_does_not_infer_is_told_from_half_a_second_on():
    def watch(count, age_ms):
        return replace(STILL, watch=Watch(count=count, advanced_ns=ago(age_ms)))

    assert Fault.POLICY_STALLED not in seen(watch(0, 500))
    said = seen(watch(0, 501))[Fault.POLICY_STALLED]
    assert said == "no inference completed for 0.50 s (limit 0.5 s)"
    # None has been heard of.
    assert Fault.POLICY_STALLED not in seen(watch(-1, 501))


def test_standing_without_a_chunk_is_told_from_half_a_second_on():
    assert Fault.STARVED not in seen(STILL)
    assert Fault.STARVED not in seen(replace(STILL, watch=Watch(starving_ns=ago(499.999))))
    said = seen(replace(STILL, watch=Watch(starving_ns=ago(500))))[Fault.STARVED]
    assert said == "no chunk to play for 0.50 s (limit 0.5 s)"


@pytest.mark.parametrize("bad", [0, 1, 2, 3])
def test_two_bad_chunks_in_a_row_are_told(bad):
    said = seen(replace(STILL, watch=Watch(bad_chunks=bad)))
    assert said.get(Fault.BAD_CHUNKS) == (f"{bad} unusable chunks in a row" if bad > 1 else None)


def test_a_stop_that_does_not_end_is_told():
    stopping = in_mode(Mode.STOPPING, since_ns=ago(3000))
    assert Fault.STOP_OVERDUE not in seen(stopping)
    said = seen(replace(stopping, since_ns=ago(3001)))[Fault.STOP_OVERDUE]
    assert said == "not at rest 3.0 s after the stop began (limit 3 s)"
    assert Fault.STOP_OVERDUE not in seen(in_mode(Mode.PAUSED, since_ns=ago(3001)))


def led(*positions, last_age_ms=0.0, period_ms=10.0, **changes) -> SupervisorState:
    """Commanded one after the other, the last of them so long ago."""
    count = len(positions)
    ages = [last_age_ms + period_ms * (count - 1 - i) for i in range(count)]
    ticks = tuple((int(ago(age)), np.asarray(p)) for age, p in zip(ages, positions, strict=True))
    return replace(STILL, ticks=ticks, **changes)


@pytest.mark.parametrize(("joint", "sign"), [(0, 1), (0, -1), (1, 1), (1, -1)])
def test_each_joint_may_be_away_from_where_it_was_led(joint, sign):
    base = np.array([0.0, 0.5, 1.0])
    away = np.zeros(3)
    away[joint] = sign * 0.25
    state = led(base)
    assert dogs.tracking_error(state, NOW, seen_at(base + away), TRACKED) == ""
    said = dogs.tracking_error(state, NOW, seen_at(base + 1.02 * away), TRACKED)
    assert said == f"{LIMITS.names[joint]} is 0.255 from its command (limit 0.25)"
    # On the way that it was led there is no error, and beyond it none but what is beyond.
    there = led(base, base + 2 * away)
    assert dogs.tracking_error(there, NOW, seen_at(base + 3 * away), TRACKED) == ""
    assert dogs.tracking_error(there, NOW, seen_at(base + 3.04 * away), TRACKED) != ""
    assert dogs.tracking_error(there, NOW, seen_at(base - 1.04 * away), TRACKED) != ""


def seen_at(position) -> Inputs:
    return replace(NOTHING, measured=measured(position))


def test_the_worst_joint_is_named_and_a_gripper_may_grasp():
    state = led(np.zeros(3))
    said = dogs.tracking_error(state, NOW, seen_at([0.3, -0.4, 0.9]), TRACKED)
    assert said == "lift is 0.400 from its command (limit 0.25)"
    assert dogs.tracking_error(state, NOW, seen_at([0.0, 0.0, 0.9]), TRACKED) == ""
    assert dogs.tracking_error(STILL, NOW, seen_at([0.0, 0.0, 0.9]), TRACKED) == ""
    assert dogs.tracking_error(state, NOW, NOTHING, TRACKED) == ""


def test_what_was_commanded_longer_ago_than_the_lag_does_not_count():
    there = np.ones(3)
    late = led(np.zeros(3), there, period_ms=200.0)
    assert dogs.tracking_error(late, NOW, seen_at(np.zeros(3)), TRACKED) == ""
    late = led(np.zeros(3), there, period_ms=200.001)
    assert dogs.tracking_error(late, NOW, seen_at(np.zeros(3)), TRACKED) != ""


def test_tracking_is_lost_after_a_while_and_not_before():
    state = led(np.zeros(3))
    off = {"measured": measured([0.3, 0.0, 0.0])}
    for since, lost in ((None, False), (ago(99.999), False), (ago(100), True)):
        said = seen(replace(state, watch=Watch(tracking_since_ns=since)), TRACKED, **off)
        assert (Fault.TRACKING in said) == lost
    assert said[Fault.TRACKING] == "pan is 0.300 from its command (limit 0.25)"


def frozen(state: SupervisorState, options: SupervisorOptions = TRACKED) -> str:
    return dogs.joint_states_frozen(state, NOW, options)


@pytest.mark.parametrize("joint", [0, 1])
def test_an_arm_that_is_led_while_nothing_changes_is_not_seen(joint):
    on, watch = np.zeros(3), Watch(seen=START, seen_ns=ago(300))
    on[joint] = 0.25
    # 300 ms ago is when it was seen to change, and the newest 200 ms are the arm's lag.
    within = led(START, START + on, last_age_ms=200, period_ms=100, watch=watch)
    assert frozen(within) == ""
    beyond = led(START, START + 1.01 * on, last_age_ms=200, period_ms=100, watch=watch)
    assert frozen(beyond) == (
        f"joint_states have been the same for 0.30 s, while {LIMITS.names[joint]} was led "
        "0.253 on (limit 0.25)"
    )
    assert frozen(replace(beyond, watch=Watch())) == ""
    later = led(START, START + 1.01 * on, last_age_ms=199.999, period_ms=100, watch=watch)
    assert frozen(later) == ""
    sooner = replace(beyond, watch=Watch(seen=START, seen_ns=ago(299.999)))
    assert frozen(sooner) == ""
    assert frozen(replace(STILL, watch=watch)) == ""


def test_a_gripper_that_is_led_may_stand():
    watch = Watch(seen=START, seen_ns=ago(300))
    state = led(
        START, START + np.array([0.0, 0.0, 0.5]), last_age_ms=200, period_ms=100, watch=watch
    )
    assert frozen(state) == ""
    both = led(
        START, START + np.array([0.3, 0.0, 0.5]), last_age_ms=200, period_ms=100, watch=watch
    )
    assert "while pan was led 0.300 on" in frozen(both)


PUSHED = replace(OPTIONS, contact_effort=np.array([8.0, np.inf, 4.0]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_joint_that_pushes_beyond_its_limit_is_named(sign):
    def contact(effort):
        return dogs.contact(replace(NOTHING, measured=measured(effort=effort)), PUSHED)

    assert contact([sign * 8.0, sign * 100.0, sign * 4.0]) == ""
    assert (
        contact([sign * 8.1, 0.0, 0.0]) == f"pan pushes with {sign * 8.1:.1f} (contact_effort 8)"
    )
    assert contact([0.0, 0.0, 4.1]) == "gripper pushes with 4.1 (contact_effort 4)"
    assert contact([np.nan, 0.0, 0.0]) == "pan pushes with nan (contact_effort 8)"
    assert contact([0.0, np.nan, 0.0]) == ""


def test_an_effort_that_is_to_be_watched_must_be_there():
    without = replace(NOTHING, measured=measured())
    said = dogs.contact(without, PUSHED)
    assert said == "joint_states carry no effort, and contact_effort is to be watched"
    assert dogs.contact(without, OPTIONS) == ""
    assert dogs.contact(NOTHING, PUSHED) == ""


def test_an_arm_stands_when_its_plan_is_over_and_it_is_slow_enough():
    def stands(state=STILL, **seen_now):
        inputs = replace(NOTHING, measured=measured(**seen_now))
        return dogs.standing(state, NOW, inputs, OPTIONS)

    assert stands()
    assert stands(velocity=(0.1, -0.1, 5.0))
    assert not stands(velocity=(0.0, -0.101, 0.0))
    assert not stands(velocity=(0.101, 0.0, 0.0))
    # What is not seen cannot be waited for.
    assert stands(velocity=(1.0, 0.0, 0.0), age_ms=101)
    assert dogs.standing(STILL, NOW, NOTHING, OPTIONS)
    moving = replace(STILL, plan=Plan.holding(LIMITS.names, START, SteadyNs(NOW + 1)))
    assert not stands(moving)
    assert stands(replace(STILL, plan=Plan.holding(LIMITS.names, START, NOW)))
    assert stands(replace(STILL, plan=None))


def remembered(state=STILL, **inputs) -> Watch:
    return dogs.watched(state, NOW, replace(NOTHING, **inputs), TRACKED)


def test_a_heartbeat_counts_when_its_count_changes():
    before = replace(STILL, watch=Watch(count=3, advanced_ns=ago(400)))
    same = remembered(before, heartbeat=Heartbeat(3, ago(1)))
    assert (same.count, same.advanced_ns) == (3, ago(400))
    for count in (4, 0):
        moved = remembered(before, heartbeat=Heartbeat(count, ago(1)))
        assert (moved.count, moved.advanced_ns) == (count, ago(1))
    assert remembered(before) == before.watch


def test_joint_states_count_when_any_joint_changes():
    before = replace(STILL, watch=Watch(seen=START, seen_ns=ago(400)))
    assert remembered(before, measured=measured()).seen_ns == ago(400)
    for joint in range(3):
        moved = START.copy()
        moved[joint] = np.nextafter(moved[joint], 9.0)
        watch = remembered(before, measured=measured(moved))
        assert watch.seen_ns == ago(2)
        assert np.array_equal(watch.seen, moved)
    assert remembered(measured=measured()).seen_ns == ago(2)


def test_since_when_the_arm_is_away_is_remembered_while_it_is():
    state = led(np.zeros(3))
    off = {"measured": measured([0.3, 0.0, 0.0])}
    assert remembered(state, **off).tracking_since_ns == NOW
    longer = replace(state, watch=Watch(tracking_since_ns=ago(50)))
    assert remembered(longer, **off).tracking_since_ns == ago(50)
    assert remembered(longer, measured=measured(np.zeros(3))).tracking_since_ns is None


def test_since_when_there_is_nothing_to_play_is_remembered():
    over = Plan.holding(LIMITS.names, START, NOW)
    starving = in_mode(Mode.POLICY, plan=over, since_ns=ago(1))
    assert remembered(starving).starving_ns == NOW
    longer = replace(starving, watch=Watch(starving_ns=ago(70)))
    assert remembered(longer).starving_ns == ago(70)
    on = Plan.holding(LIMITS.names, START, SteadyNs(NOW + 1))
    for calm in (
        replace(longer, plan=on),
        replace(longer, plan=None),
        in_mode(Mode.PAUSED, longer),
        replace(longer, since_ns=NOW),
    ):
        assert remembered(calm).starving_ns is None
    # After a handback the policy has as long as it may infer.
    handed = replace(longer, handed=Handback("p", NOW))
    assert remembered(replace(handed, since_ns=ago(500))).starving_ns is None
    assert remembered(replace(handed, since_ns=ago(500.001))).starving_ns == ago(70)

# SPDX-License-Identifier: Apache-2.0
"""A supervisor that sends efforts, with an arm that obeys Newton, tick by tick."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.effort_limits import EffortOptions
from levine_policy_node.core.effort_supervisor import step_efforts
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import (
    Decision,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorOptions,
    SupervisorState,
    Target,
)
from levine_policy_node.core.units import StampNs, SteadyNs

MS = 1_000_000
OFFSET = 1_700_000_000_000_000_000
NAMES = ("pan", "lift", "gripper")
LIMITS = JointLimits(
    NAMES,
    np.array([-1.5, -1.0, 0.0]),
    np.array([1.5, 1.2, 1.5]),
    np.full(3, 2.0),
    np.full(3, 8.0),
    np.full(3, 80.0),
)
EFFORTS = EffortOptions(
    largest=np.full(3, 3.0),
    rate=np.full(3, 300.0),
    stiffness=np.full(3, 10.0),
    damping=np.full(3, 0.6),
)
OPTIONS = SupervisorOptions(
    limits=LIMITS,
    home=np.array([0.0, 0.3, 1.0]),
    exempt=np.array([False, False, True]),
    sends_windows=False,
    efforts=EFFORTS,
)
INERTIA, FRICTION = 0.04, 0.1
START = np.array([0.1, -0.2, 0.7])


@dataclass
class Rig:
    """The supervisor, an arm of three flywheels, and a policy that pushes with `push`."""

    now_ns: int = 100 * 1_000 * MS
    state: SupervisorState = field(default_factory=SupervisorState)
    position: np.ndarray = field(default_factory=START.copy)
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    push: np.ndarray | None = None
    policy: bool = True
    arm_seen: bool = True
    target: np.ndarray | None = None
    seen_ns: int = 0
    inferences: int = 0
    measured: Measured | None = None
    ahead_s: float = 0.0
    history: list[Decision] = field(default_factory=list)

    def tick(self, *acts: Event, gap_ms: int = 10) -> Decision:
        """Let the arm move under what was sent last, then decide."""
        self._move(gap_ms)
        self.now_ns += gap_ms * MS
        now = SteadyNs(self.now_ns)
        pushes = ()
        if self.policy:
            self.inferences += 1
            if self.push is not None:
                pushes = (self.rows(self.push),)
        if self.arm_seen:
            self.seen_ns = self.now_ns
            self.measured = Measured(self.position.copy(), self.velocity.copy(), now)
        heard = now if self.policy else SteadyNs(self.now_ns - 10_000 * MS)
        self.state, decision = step_efforts(
            self.state,
            now,
            Inputs(
                ros_offset_ns=OFFSET,
                measured=self.measured,
                heartbeat=Heartbeat(self.inferences, heard),
                target=None if self.target is None else Target(self.target, "operator:t", now),
                requests=tuple(Request(act) for act in acts),
                pushes=pushes,
            ),
            OPTIONS,
        )
        self.history.append(decision)
        return decision

    def rows(self, efforts: np.ndarray, length_s: float = 0.05) -> EffortTimeline[StampNs]:
        """One row from now on, or from `ahead_s` on."""
        times_s = np.array([0.0, length_s])
        start = StampNs(OFFSET + self.now_ns + round(self.ahead_s * 1e9))
        return EffortTimeline(NAMES, start, times_s, np.stack([efforts] * 2), "policy:p@0#1")

    def ticks(self, count: int) -> Decision:
        """Several ticks."""
        for _ in range(count):
            decision = self.tick()
        return decision

    def armed(self) -> Rig:
        """Up to ARMED."""
        self.ticks(2)
        assert self.tick(Event.ARM).replies[0].accepted
        self.tick()
        return self

    def engaged(self, push: np.ndarray) -> Rig:
        """Up to POLICY."""
        self.armed()
        self.push = push
        self.tick()
        reply = self.tick(Event.ENGAGE).replies[0]
        assert reply.accepted, reply.message
        return self

    def _move(self, gap_ms: int) -> None:
        efforts = None if not self.history else self.history[-1].efforts
        for _ in range(gap_ms):
            # Where nothing is sent the robot brakes by itself.
            torque = -0.6 * self.velocity if efforts is None else efforts
            self.velocity = self.velocity + 1e-3 * (torque - FRICTION * self.velocity) / INERTIA
            self.position = self.position + 1e-3 * self.velocity


def mode(rig: Rig) -> Mode:
    return rig.state.mode.mode


def test_an_armed_arm_is_held_where_it_stands():
    rig = Rig().armed()
    decision = rig.ticks(20)
    np.testing.assert_allclose(decision.efforts, 0.0, atol=1e-9)
    rig.position = START + 0.02
    decision = rig.tick()
    assert np.all(decision.efforts < 0.0)
    rig.ticks(200)
    np.testing.assert_allclose(rig.position, START, atol=1e-3)


def test_the_policy_pushes_with_what_it_says():
    push = np.array([0.05, -0.04, 0.03])
    rig = Rig().engaged(push)
    decision = rig.ticks(5)
    np.testing.assert_array_equal(decision.efforts, push)
    np.testing.assert_array_equal(decision.asked_efforts, push)
    assert decision.source == "policy:p@0#1"
    assert mode(rig) is Mode.POLICY
    assert np.all(rig.velocity * push > 0.0)


def test_when_the_efforts_end_the_arm_is_braked_and_then_held_there():
    rig = Rig().engaged(np.array([0.1, 0.0, 0.0]))
    rig.ticks(40)
    assert rig.velocity[0] > 0.3
    rig.push = None
    names = [o.name for _ in range(8) for o in rig.tick().occurrences]
    assert "STARVED" in names
    decision = rig.tick()
    assert decision.source == "stop"
    assert decision.efforts[0] < 0.0
    rig.ticks(40)
    assert np.max(np.abs(rig.velocity)) < 0.01
    stood = rig.position.copy()
    rig.ticks(100)
    assert mode(rig) is Mode.PAUSED
    np.testing.assert_allclose(rig.position, stood, atol=0.01)


@pytest.mark.parametrize(("act", "ends"), [(Event.PAUSE, Mode.PAUSED), (Event.STOP, Mode.PSTOP)])
def test_a_stop_brakes_at_once(act, ends):
    rig = Rig().engaged(np.array([0.15, 0.1, -0.1]))
    rig.ticks(40)
    speed = np.max(np.abs(rig.velocity))
    decision = rig.tick(act)
    assert mode(rig) is Mode.STOPPING
    assert decision.source == "stop"
    rig.ticks(15)
    assert np.max(np.abs(rig.velocity)) < 0.3 * speed
    rig.ticks(60)
    assert mode(rig) is ends
    assert np.max(np.abs(rig.velocity)) < 0.01


def test_a_silent_policy_is_a_stop():
    rig = Rig().engaged(np.array([0.1, 0.0, 0.0]))
    rig.ticks(20)
    rig.policy = False
    rig.tick()
    assert mode(rig) is Mode.STOPPING
    rig.ticks(100)
    assert mode(rig) is Mode.PAUSED


def test_without_a_measurement_nothing_is_sent():
    rig = Rig().engaged(np.array([0.1, 0.0, 0.0]))
    rig.ticks(20)
    rig.arm_seen = False
    decisions = [rig.tick() for _ in range(30)]
    assert all(d.efforts is None for d in decisions[11:])
    assert mode(rig) is Mode.PSTOP
    rig.arm_seen = True
    here = rig.position.copy()
    assert rig.tick().efforts is not None
    rig.ticks(50)
    np.testing.assert_allclose(rig.position, here, atol=0.02)


def test_a_brake_on_an_old_velocity_does_not_push_the_arm_back():
    rig = Rig().engaged(np.array([0.15, 0.0, 0.0]))
    rig.ticks(40)
    assert rig.velocity[0] > 0.5
    rig.tick(Event.PAUSE)
    rig.arm_seen = False
    for _ in range(10):
        rig.tick()
        assert rig.velocity[0] > -0.05
    assert np.all(rig.history[-1].efforts == 0.0) or rig.history[-1].efforts is None


def test_an_arm_that_is_blocked_is_not_pushed_at_after_the_stop():
    rig = Rig().armed()
    rig.target = START.copy()
    assert rig.tick(Event.TAKEOVER).replies[0].accepted
    rig.target = START + 0.6
    for _ in range(150):
        rig.position, rig.velocity = START.copy(), np.zeros(3)
        decision = rig.tick()
    assert Fault.TRACKING in rig.state.faults
    assert mode(rig) is Mode.PSTOP
    np.testing.assert_allclose(decision.efforts, 0.0, atol=0.05)


def test_disarming_sends_nothing():
    rig = Rig().engaged(np.array([0.1, 0.0, 0.0]))
    rig.ticks(5)
    rig.tick(Event.DISARM)
    rig.ticks(100)
    assert mode(rig) is Mode.DISARMED
    assert rig.history[-1].efforts is None
    assert rig.tick(Event.ARM).replies[0].accepted


def test_home_and_a_person_move_the_arm_by_impedance():
    rig = Rig().armed()
    rig.tick(Event.HOME)
    rig.ticks(300)
    assert mode(rig) is Mode.PAUSED
    np.testing.assert_allclose(rig.position, OPTIONS.home, atol=0.03)
    rig.target = OPTIONS.home + 0.1
    assert rig.tick(Event.TAKEOVER).replies[0].accepted
    rig.ticks(200)
    np.testing.assert_allclose(rig.position, rig.target, atol=0.02)


def test_a_takeover_from_the_policy_and_back():
    rig = Rig().engaged(np.array([0.05, 0.0, 0.0]))
    rig.ticks(20)
    rig.target = rig.position.copy()
    assert rig.tick(Event.TAKEOVER).replies[0].accepted
    rig.ticks(60)
    assert mode(rig) is Mode.HUMAN
    np.testing.assert_allclose(rig.position, rig.target, atol=0.05)
    reply = rig.tick(Event.HANDBACK).replies[0]
    assert reply.accepted, reply.message
    # What the policy wanted before is not pushed with.
    assert rig.ticks(3).efforts[0] < 0.5 * rig.push[0]
    np.testing.assert_array_equal(rig.ticks(30).efforts, rig.push)


def test_a_chunk_that_is_over_cannot_be_engaged():
    rig = Rig().armed()
    assert "no usable" in rig.tick(Event.ENGAGE).replies[0].message
    rig.push = np.zeros(3)
    rig.tick()
    rig.push = None
    rig.ticks(20)
    assert "is over" in rig.tick(Event.ENGAGE).replies[0].message


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [(10.5, "the chunk starts 10.5 s in the future"), (-3.0, "the chunk ended 2.95 s ago")],
)
def test_efforts_for_another_time_are_refused_and_told(ahead_s, said):
    rig = Rig().armed()
    rig.push, rig.ahead_s = np.zeros(3), ahead_s
    [told] = [o for o in rig.tick().occurrences if o.name == "CHUNK_REFUSED"]
    assert told.text == said
    assert rig.state.pushing.rows is None
    rig.ahead_s = 0.0
    rig.tick()
    assert rig.state.pushing.rows is not None


def test_before_the_arm_is_seen_nothing_is_sent():
    rig = Rig(arm_seen=False)
    decision = rig.ticks(3)
    assert decision.efforts is None
    assert not rig.tick(Event.ARM).replies[0].accepted
    assert mode(rig) is Mode.DISARMED


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_what_cannot_be_computed_is_not_sent_and_the_last_is_remembered(strange):
    rig = Rig().engaged(np.array([0.02, 0.0, 0.0]))
    rig.ticks(3)
    sent, sent_ns = rig.state.pushing.sent, rig.state.pushing.sent_ns
    rig.push = np.array([0.0, strange, 0.0])
    decision = rig.tick()
    if np.isnan(strange):
        assert decision.efforts is None
        assert rig.state.pushing.sent is sent
        assert rig.state.pushing.sent_ns == sent_ns
    else:
        assert np.all(np.abs(decision.efforts) <= EFFORTS.largest)


def test_a_late_tick_pauses():
    rig = Rig().engaged(np.array([0.02, 0.0, 0.0]))
    rig.ticks(5)
    rig.tick(gap_ms=150)
    assert Fault.OVERRUN in rig.state.faults
    assert mode(rig) is Mode.STOPPING


@pytest.mark.parametrize(("joint", "size"), [(0, 0.2), (1, 0.5), (1, 3.0), (0, -0.3), (1, -3.0)])
def test_an_arm_that_is_pushed_to_its_end_is_stopped_before_it(joint, size):
    push = np.zeros(3)
    push[joint] = size
    rig = Rig().engaged(push)
    stopped = 0
    for _ in range(800):
        rig.tick()
        assert np.all(rig.position > LIMITS.lower - 0.02)
        assert np.all(rig.position < LIMITS.upper + 0.02)
        assert np.all(np.abs(rig.velocity) < 1.6 * LIMITS.velocity)
        stopped += mode(rig) is Mode.PSTOP
        if stopped == 80:
            break
    assert stopped == 80
    assert Fault.RUNS_AWAY in rig.state.faults
    assert np.max(np.abs(rig.velocity)) < 0.01
    # And it stands where it can be armed again.
    assert rig.tick(Event.RESET).replies[0].accepted
    reply = rig.tick(Event.ARM).replies[0]
    assert reply.accepted, reply.message


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-50.0, 50.0), min_size=3, max_size=3),
            st.sampled_from([None, None, None, Event.PAUSE, Event.RESUME, Event.TAKEOVER]),
            st.booleans(),
        ),
        min_size=1,
        max_size=60,
    )
)
@settings(max_examples=40)
def test_whatever_is_asked_for_efforts_stay_within_their_bounds(asked):
    rig = Rig().engaged(np.zeros(3))
    rig.target = START
    before = rig.history[-1].efforts
    for push, act, seen in asked:
        rig.push, rig.arm_seen = np.array(push), seen
        decision = rig.tick() if act is None else rig.tick(act)
        sent = decision.efforts
        if sent is not None:
            assert np.all(np.isfinite(sent))
            assert np.all(np.abs(sent) <= EFFORTS.largest)
            last = np.zeros(3) if before is None else before
            assert np.all(np.abs(sent - last) <= EFFORTS.rate * 0.01 + 1e-12)
        before = sent


@pytest.mark.parametrize(
    ("times", "rows"), [([0.0, 0.1], 3), ([0.0], 1), ([0.1, 0.2], 2), ([0.0, 0.0], 2)]
)
def test_efforts_whose_times_are_none_are_refused(times, rows):
    with pytest.raises(ValueError, match="efforts"):
        EffortTimeline(NAMES, StampNs(0), np.array(times), np.zeros((rows, 3)))


def test_an_arm_that_takes_positions_is_refused():
    with pytest.raises(ValueError, match="positions"):
        step_efforts(SupervisorState(), SteadyNs(1), Inputs(0), replace(OPTIONS, efforts=None))


@pytest.mark.parametrize(("silent", "step"), [(3, True), (12, False)])
def test_after_a_silence_the_rate_begins_at_what_is_still_in_force(silent, step):
    """The robot pushes with the last effort until its timeout, and has let go afterwards."""
    slow = replace(EFFORTS, rate=np.full(3, 1.0))
    rig = Rig().engaged(np.array([0.1, 0.0, 0.0]))
    rig.ticks(20)
    before = rig.history[-1].efforts
    assert before is not None
    memory = rig.state.pushing
    now = SteadyNs(rig.now_ns + silent * 10 * MS)
    in_force = memory.sent if step else np.zeros(3)
    state, decision = step_efforts(
        rig.state,
        now,
        Inputs(
            ros_offset_ns=OFFSET,
            measured=replace(rig.measured, received_ns=now),
            heartbeat=Heartbeat(rig.inferences, now),
        ),
        replace(OPTIONS, efforts=slow),
    )
    assert decision.efforts is not None
    assert np.all(np.abs(decision.efforts - in_force) <= 1.0 * OPTIONS.tick_s + 1e-12)
    assert state.pushing.sent_ns == now

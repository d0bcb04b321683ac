# SPDX-License-Identifier: Apache-2.0
"""The controller is watched by what it says it commands, whoever else the graph shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_supervisor import MS, OPTIONS, START, Rig

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import Measured
from levine_policy_node.core.surroundings import Reference, Surroundings
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import SteadyNs

PERIOD_NS = 10 * MS


@dataclass
class Controlled(Rig):
    """A rig whose controller plays its windows at 100 Hz and says at 50 Hz what it commands."""

    playing: Timeline[SteadyNs] | None = None
    accepts: bool = True
    talks: bool = True
    late_ms: float = 1.0
    skew_ms: float = 0.0
    ahead_ns: int = PERIOD_NS
    foreign: np.ndarray | None = None
    commanded: np.ndarray = field(default_factory=START.copy)
    heard_ns: int | None = None

    def tick(self, *acts: Event, after_ms: float = 10.0):
        now = SteadyNs(self.now_ns + round(after_ms * MS))
        references: tuple[Reference, ...] = ()
        window = self.decisions[-1].window if self.decisions else None
        if window is not None and self.accepts:
            self.playing, self.foreign = window, None
        if self.foreign is not None:
            self.commanded = self.foreign
        elif self.playing is not None:
            stamp_ns = now - round(self.late_ms * MS)
            self.commanded = self.playing.sample(SteadyNs(stamp_ns + self.ahead_ns)).position
        if self.talks and self.ticks % 2 == 0:
            stamp = SteadyNs(now - round((self.late_ms + self.skew_ms) * MS))
            references = (Reference(self.commanded.copy(), stamp, now),)
            self.heard_ns = int(now)
        around = replace(self.around, references=references)
        if self.heard_ns is not None:
            around = replace(around, reference_ns=SteadyNs(self.heard_ns))
        self.around = around
        return super().tick(*acts, after_ms=after_ms)


def faults(rig: Rig) -> set[str]:
    return {o.name for d in rig.decisions for o in d.occurrences} & {f.name for f in Fault}


@pytest.mark.parametrize("ahead_ns", [0, PERIOD_NS, 2 * PERIOD_NS])
def test_a_controller_that_does_what_it_is_sent_is_left_alone(ahead_ns):
    rig = Controlled(ahead_ns=ahead_ns).moving()
    rig.run(1.0)
    for act in (Event.PAUSE, Event.RESUME, Event.PAUSE, Event.HOME):
        assert rig.ask(act).accepted
        rig.run(1.5)
    assert faults(rig) == set()


@settings(max_examples=8, deadline=None)
@given(
    st.floats(0.0, 40.0),
    st.floats(-50.0, 50.0),
    st.integers(0, 9),
    st.lists(st.tuples(st.floats(8.0, 60.0), st.sampled_from([None, *Event])), max_size=12),
)
def test_delay_skew_and_late_ticks_are_no_foreign_writer(late_ms, skew_ms, seed, steps):
    rig = Controlled(late_ms=late_ms, skew_ms=skew_ms, seed=seed).moving()
    for after_ms, act in steps:
        rig.tick(*([act] if act is not None else []), after_ms=after_ms)
        rig.run(0.05)
    assert not faults(rig) & {"FOREIGN_WRITER", "COMMANDS_REFUSED", "CONTROLLER_LOST"}


@pytest.mark.parametrize("mode", [Mode.POLICY, Mode.PAUSED, Mode.ARMED])
def test_a_foreign_writer_is_found_within_two_samples(mode):
    rig = Controlled()
    if mode is Mode.ARMED:
        rig.run(0.1)
        assert rig.ask(Event.ARM).accepted
        rig.run(0.5)
    else:
        rig.moving()
        if mode is Mode.PAUSED:
            assert rig.ask(Event.PAUSE).accepted
            rig.until(Mode.PAUSED)
            rig.run(0.3)
    assert rig.mode is mode
    # It writes more often than we do: each of ours is replaced before it is played.
    rig.accepts, rig.foreign = False, rig.commanded + np.array([0.0, 0.5, 0.0])
    # 40 ms at 50 Hz, and the tick that sees it.
    assert any(Fault.FOREIGN_WRITER in rig.tick().faults for _ in range(5))
    assert rig.state.mode.mode in {Mode.STOPPING, Mode.FAULT}
    assert "the controller commands lift 0." in rig.decisions[-1].faults[Fault.FOREIGN_WRITER]


def test_two_strays_among_five_are_enough_and_one_is_not():
    rig = Controlled().moving()
    for stray in (True, False, False, False, False, False):
        rig.foreign = rig.commanded + 0.5 if stray else None
        rig.accepts = not stray
        rig.tick()
        rig.accepts, rig.foreign = True, None
        rig.tick()
    assert faults(rig) == set()
    for stray in (True, False, True):
        rig.foreign = rig.commanded + 0.5 if stray else None
        rig.accepts = not stray
        rig.tick()
        rig.accepts, rig.foreign = True, None
        rig.tick()
    assert faults(rig) == {"FOREIGN_WRITER"}


def test_a_controller_that_refuses_its_windows_is_found_when_it_falls_behind():
    rig = Controlled().moving()
    rig.accepts = False
    rig.until(Mode.STOPPING, within_s=0.4)
    assert faults(rig) == {"COMMANDS_REFUSED"}
    rig.until(Mode.FAULT)


def test_a_reference_that_is_not_a_number_is_not_what_was_sent():
    rig = Controlled().moving()
    rig.accepts, rig.foreign = False, np.full(3, np.nan)
    rig.run(0.05)
    assert faults(rig) == {"FOREIGN_WRITER"}


def test_a_controller_that_falls_silent_is_lost_and_keeps_the_latch():
    rig = Controlled().moving()
    rig.talks = False
    assert rig.until(Mode.STOPPING) <= 130
    assert faults(rig) == {"CONTROLLER_LOST"}
    rig.until(Mode.FAULT)
    rig.run(0.3)
    assert "the controller has said nothing" in rig.ask(Event.RESET).message
    rig.talks = True
    rig.run(0.1)
    assert rig.ask(Event.RESET).accepted


def test_a_controller_that_never_spoke_is_not_watched():
    rig = Controlled(talks=False).moving()
    rig.run(0.5)
    assert faults(rig) == set()


@pytest.mark.parametrize(
    ("around", "fault", "ends"),
    [
        (Surroundings(inactive="arm_controller is inactive"), "CONTROLLER_LOST", Mode.FAULT),
        (Surroundings(listeners=0), "CONTROLLER_LOST", Mode.FAULT),
        (Surroundings(flood="joint_states: more than 1500 Hz"), "MESSAGE_FLOOD", Mode.PSTOP),
        (Surroundings(policy_problem="camera a: dark"), "OBSERVATION_BAD", Mode.PAUSED),
        (Surroundings(enable=False), "ENABLE_LOST", Mode.PSTOP),
    ],
)
def test_what_is_wrong_around_stops_with_the_tick_that_hears_it(around, fault, ends):
    rig = Rig().moving()
    rig.around = around
    assert rig.tick().mode.mode is Mode.STOPPING
    assert faults(rig) == {fault}
    rig.until(ends)
    rig.run(0.2)
    # Nothing goes on by itself, and nothing goes on at all while the cause is there.
    for act in (Event.RESET, Event.ARM, Event.RESUME, Event.ENGAGE):
        rig.ask(act)
    assert rig.mode is ends
    rig.around = Surroundings()
    rig.run(0.2)
    assert rig.mode is ends


@pytest.mark.parametrize(
    "around",
    [
        Surroundings(inactive="arm_controller is inactive"),
        Surroundings(listeners=0),
        Surroundings(enable=False),
        Surroundings(flood="estop: more than 300 Hz"),
        Surroundings(clock_skew="the clock that stamps joint_states is 80 ms behind"),
    ],
)
def test_what_is_wrong_around_refuses_to_arm(around):
    rig = Rig(around=around)
    rig.run(0.1)
    refused = rig.ask(Event.ARM)
    assert not refused.accepted
    rig.around = Surroundings()
    assert rig.ask(Event.ARM).accepted


def test_an_enable_that_is_wanted_must_keep_coming():
    rig = Rig(options=replace(OPTIONS, enable_timeout_s=0.1))
    rig.run(0.1)
    assert "nothing on enable" in rig.ask(Event.ARM).message
    rig.around = Surroundings(enable=True, enable_ns=SteadyNs(rig.now_ns + 10 * MS))
    assert rig.ask(Event.ARM).accepted
    assert rig.until(Mode.PSTOP) <= 120
    assert faults(rig) == {"ENABLE_LOST"}


def test_joint_states_that_stand_still_while_the_arm_is_moved_stop_it():
    rig = Rig().moving()
    still = rig.measured.position
    rig.arm_seen = False

    def stops() -> bool:
        rig.measured = Measured(still, np.zeros(3), SteadyNs(rig.now_ns + 8 * MS))
        return rig.tick().mode.mode is Mode.STOPPING

    assert any(stops() for _ in range(45))
    assert faults(rig) == {"JOINT_STATES_FROZEN"}
    rig.arm_seen = True
    rig.until(Mode.PSTOP)


def test_clocks_that_drift_apart_do_not_stop_a_moving_arm():
    rig = Rig().moving()
    rig.around = Surroundings(clock_skew="the clock that stamps joint_states is 80 ms behind")
    rig.run(0.5)
    assert rig.mode is Mode.POLICY


def test_a_policy_that_cannot_see_may_not_be_engaged():
    rig = Rig(around=Surroundings(policy_problem="camera wrist: nothing received"))
    rig.run(0.1)
    assert rig.ask(Event.ARM).accepted
    rig.run(0.1)
    assert "camera wrist" in rig.ask(Event.ENGAGE).message

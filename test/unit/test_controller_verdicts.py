# SPDX-License-Identifier: Apache-2.0
"""What a controller says it commands against what it was sent: where exactly it strays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_supervisor import MS, OPTIONS

from levine_policy_node.core.controller_watch import controller_faults, controller_watched
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Mode
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.supervision import Inputs, SupervisorState
from levine_policy_node.core.surroundings import (
    NO_VERDICTS,
    ControllerMemory,
    ControllerOptions,
    Reference,
    Strayed,
    Surroundings,
)
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import SteadyNs

NOW = SteadyNs(100_000_000_000)
# Powers of two, so that a bound can be met exactly.
TOLERANCE = 0.125
WATCHED = replace(OPTIONS, controller=ControllerOptions(tolerance=TOLERANCE))
HERE = np.array([0.5, -0.5, 0.25])


def standing(position=HERE, *, ticks=None, since_ms=500) -> SupervisorState:
    """A supervisor that has commanded one position, or what `ticks` says, for a while."""
    if ticks is None:
        ticks = {-at_ms: position for at_ms in range(since_ms, -1, -10)}
    plan = Plan.holding(OPTIONS.limits.names, position, SteadyNs(NOW - 1000 * MS))
    mode = replace(SupervisorState().mode, mode=Mode.POLICY)
    told = tuple((NOW + at_ms * MS, np.asarray(at)) for at_ms, at in ticks.items())
    return SupervisorState(mode=mode, plan=plan, ticks=told)


def verdict(state, position, *, stamp_ms=0.0, received_ms=0.0):
    """What is thought of one reference; None if it is good, "unknown" if it cannot be judged."""
    times = (SteadyNs(NOW + round(ms * MS)) for ms in (stamp_ms, received_ms))
    around = Surroundings(references=(Reference(np.asarray(position), *times),))
    watched = controller_watched(state, Inputs(0, around=around), WATCHED)
    return watched.verdicts[0] if watched.verdicts else "unknown"


def strays(*args, **kwargs) -> bool:
    found = verdict(*args, **kwargs)
    return found is not None and found != "unknown"


@pytest.mark.parametrize("joint", range(3))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_each_joint_may_be_off_by_the_tolerance(joint, sign):
    away = np.zeros(3)
    away[joint] = sign * TOLERANCE
    assert verdict(standing(), HERE + away) is None
    found = verdict(standing(), HERE + 1.01 * away)
    name = OPTIONS.limits.names[joint]
    assert found.evidence == (
        f"the controller commands {name} 0.126 from what it was sent (limit 0.125)"
    )


def test_where_one_joint_may_be_another_may_not():
    # Each is within what some other joint was sent.
    assert strays(standing(), [-0.5, -0.5, 0.25])
    assert strays(standing(), [0.5, 0.5, 0.25])
    swung = standing(ticks={-500: HERE, -20: HERE + 0.5, -10: HERE - 0.5, 0: HERE})
    assert verdict(swung, HERE + 0.5) is None
    assert verdict(swung, HERE - 0.5) is None
    assert strays(swung, [-0.3, -0.5, 0.25])
    assert strays(swung, [0.5, 0.3, 0.25])


@pytest.mark.parametrize("edge_ms", [-30, 30])
def test_what_was_commanded_up_to_the_window_around_it_counts(edge_ms):
    there = HERE + 0.5
    at_edge = {-500: HERE, edge_ms: there}
    assert verdict(standing(ticks=at_edge), there) is None
    before = {-500: HERE, edge_ms + (1 if edge_ms > 0 else -1): there}
    assert strays(standing(ticks=before), there)


def test_from_its_stamp_to_its_arrival_everything_counts():
    there = HERE + 0.5
    lately = standing(ticks={-500: HERE, -100: there, -50: HERE})
    assert verdict(lately, there, stamp_ms=-75.0) is None
    assert strays(lately, there, stamp_ms=-65.0)
    # A controller whose clock is ahead.
    assert verdict(lately, there, stamp_ms=0.0, received_ms=-75.0) is None


def test_a_stamp_that_is_far_off_says_nothing():
    there = HERE + 0.5
    lately = standing(ticks={-500: HERE, -190: there, -150: HERE})
    assert verdict(lately, there, stamp_ms=-200.0) is None
    assert strays(lately, there, stamp_ms=-200.001)
    assert strays(lately, there, stamp_ms=200.001)
    assert verdict(lately, HERE, stamp_ms=-1e6) is None


def test_nothing_is_judged_before_the_controller_can_have_settled():
    # 30 ms around the reference and 100 ms before.
    assert verdict(standing(since_ms=130), HERE) is None
    assert strays(standing(since_ms=130), HERE + 0.5)
    assert verdict(standing(ticks={-129.999: HERE, 0: HERE}), HERE) == "unknown"
    assert verdict(standing(ticks={}), HERE) == "unknown"
    assert verdict(replace(standing(), plan=None), HERE) == "unknown"


def test_what_cannot_be_judged_forgets_what_was():
    around = Surroundings(references=(Reference(HERE + 0.5, NOW, NOW),))
    inputs = Inputs(0, around=around)
    once = controller_watched(standing(), inputs, WATCHED)
    assert len(once.verdicts) == 1
    young = standing(since_ms=50)
    remembers = replace(young, watch=replace(young.watch, controller=once))
    assert controller_watched(remembers, inputs, WATCHED).verdicts == ()


def test_one_that_stands_somewhere_on_the_way_refuses_and_another_is_led():
    on_the_way = standing(ticks={-500: HERE - 0.5, -200: HERE, 0: HERE})
    left = HERE - 0.5
    assert verdict(on_the_way, left).stands is True
    # By the tolerance beyond where it has been is still there.
    assert verdict(on_the_way, left - TOLERANCE).stands is True
    assert verdict(on_the_way, left - 1.01 * TOLERANCE).stands is False
    assert verdict(on_the_way, HERE + 1.01 * TOLERANCE).stands is False
    # Each joint has its own way: these are within another joint's.
    assert verdict(on_the_way, [-0.5, -0.75, 0.0]).stands is False
    assert verdict(on_the_way, [0.25, 0.0, 0.0]).stands is False


def test_a_motion_is_known_between_its_ticks():
    # From the plan itself: no tick lies within the window.
    times_s = np.array([0.0, 2.0])
    rows = np.stack([HERE - 0.5, HERE + 0.5])
    rate = np.tile((rows[1] - rows[0]) / 2.0, (2, 1))
    begin = SteadyNs(NOW - 1000 * MS)
    motion = Timeline(OPTIONS.limits.names, begin, times_s, rows, rate, np.zeros((2, 3)))
    state = replace(standing(ticks={-500: HERE}), plan=Plan(motion, ()))
    reach = 0.5 * 0.03
    assert verdict(state, HERE + reach + TOLERANCE - 1e-6) is None
    assert strays(state, HERE + reach + TOLERANCE + 1e-6)
    assert verdict(state, HERE - reach - TOLERANCE + 1e-6) is None
    assert strays(state, HERE - reach - TOLERANCE - 1e-6)


LOST = replace(WATCHED, controller=ControllerOptions(timeout_s=2.0))


def found(memory=NO_VERDICTS, *, age_s=None, **around):
    heard_ns = None if age_s is None else SteadyNs(NOW - round(age_s * 1000 * MS))
    inputs = Inputs(0, around=Surroundings(reference_ns=heard_ns, **around))
    causes = controller_faults(memory, NOW, inputs, LOST)
    return {fault: text for fault, text in causes.items() if text}


def test_a_controller_that_says_nothing_any_more_is_lost():
    assert found() == {}
    assert found(age_s=2.0) == {}
    said = "the controller has said nothing for 3000 ms (limit 2000 ms)"
    assert found(age_s=3.0) == {Fault.CONTROLLER_LOST: said}
    nobody = "no controller listens to the command topic"
    assert found(age_s=3.0, listeners=0) == {Fault.CONTROLLER_LOST: nobody}
    assert found(age_s=3.0, listeners=2) == {Fault.CONTROLLER_LOST: said}
    inactive = {"inactive": "arm is inactive", "listeners": 0}
    assert found(**inactive) == {Fault.CONTROLLER_LOST: "arm is inactive"}


def test_two_strays_are_a_fault_and_of_which_kind_is_where_they_stand():
    good, stands, led = (
        None,
        Strayed(stands=True, evidence="a"),
        Strayed(stands=False, evidence="b"),
    )
    third = Strayed(stands=True, evidence="c")
    for verdicts, expected in (
        ((stands, good, good, good, good), {}),
        ((good, good), {}),
        ((stands, good, third), {Fault.COMMANDS_REFUSED: "c"}),
        ((stands, third, stands), {Fault.COMMANDS_REFUSED: "a"}),
        ((stands, led), {Fault.FOREIGN_WRITER: "b"}),
        ((led, third, stands), {Fault.FOREIGN_WRITER: "a"}),
    ):
        assert found(ControllerMemory(verdicts)) == expected


def test_of_the_verdicts_five_are_kept():
    state = standing()
    for _ in range(7):
        around = Surroundings(references=(Reference(HERE, NOW, NOW),))
        memory = controller_watched(state, Inputs(0, around=around), WATCHED)
        state = replace(state, watch=replace(state.watch, controller=memory))
    assert memory.verdicts == (None,) * 5
    # Nobody is judged while nothing is commanded.
    disarmed = replace(state, mode=replace(state.mode, mode=Mode.DISARMED))
    assert controller_watched(disarmed, Inputs(0, around=around), WATCHED) is NO_VERDICTS

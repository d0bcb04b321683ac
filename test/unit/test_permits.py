# SPDX-License-Identifier: Apache-2.0
"""What forbids an operator's act, in which order, and from exactly when on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from test_supervisor import LIMITS, MS, OPTIONS, START
from test_watchdog_edges import NOTHING, NOW, STILL, ago, measured

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.permits import (
    may_arm,
    may_engage,
    may_hand_back,
    may_reset,
    may_take_over,
)
from levine_policy_node.core.supervision import Heartbeat, Target
from levine_policy_node.core.surroundings import Surroundings
from levine_policy_node.core.takeover import TakeoverOptions
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.core.watch import Watch

READY = replace(NOTHING, measured=measured(), heartbeat=Heartbeat(1, ago(1)))


def test_what_forbids_to_arm_is_told_in_order():
    assert may_arm(STILL, NOW, READY, OPTIONS) == ""
    late = replace(READY, measured=measured(age_ms=101))
    assert may_arm(STILL, NOW, late, OPTIONS) == "joint_states: nothing for 101 ms (limit 100 ms)"
    out = replace(READY, measured=measured([9.0, 0.0, 0.0]))
    said = may_arm(STILL, NOW, out, OPTIONS)
    assert said.startswith("pan")
    assert said.endswith("; move the arm into its range by hand")
    moves = replace(READY, measured=measured(velocity=(1.0, 0.0, 0.0)))
    assert may_arm(STILL, NOW, moves, OPTIONS) == "the arm is moving"
    around = Surroundings(
        listeners=0, graph="nobody hears estop", enable=False, flood="too many", clock_skew="skew"
    )
    said = [may_arm(STILL, NOW, replace(READY, around=around, publishers=2), OPTIONS)]
    for cleared in ({}, {"graph": ""}, {"listeners": 1}, {"enable": True}, {"flood": ""}):
        around = replace(around, **cleared)
        said.append(may_arm(STILL, NOW, replace(READY, around=around), OPTIONS))
    assert said == [
        "2 publishers on the controller's command topic, 1 allowed",
        "nobody hears estop",
        "no controller listens to the command topic",
        "enable is false",
        "too many",
        "skew",
    ]


def chunk_until(end_ms: float) -> Timeline[SteadyNs]:
    rows = np.tile(START, (2, 1))
    still = np.zeros((2, 3))
    begin = SteadyNs(NOW + round(end_ms * MS) - 1000 * MS)
    return Timeline(LIMITS.names, begin, np.array([0.0, 1.0]), rows, still, still)


def test_what_forbids_the_policy_is_told_in_order():
    ready = replace(STILL, reference=chunk_until(41), watch=Watch(count=1, advanced_ns=ago(1)))
    assert may_engage(ready, NOW, READY, OPTIONS) == ""
    assert may_hand_back(ready, NOW, READY, OPTIONS) == ""
    over = replace(ready, reference=chunk_until(40))
    assert may_engage(over, NOW, READY, OPTIONS) == "the newest policy/action_chunk is over"
    without = replace(ready, reference=None)
    said = "no usable policy/action_chunk has been received"
    assert may_engage(without, NOW, READY, OPTIONS) == said
    blind = replace(READY, around=Surroundings(policy_problem="camera a: dark"))
    assert may_engage(without, NOW, blind, OPTIONS) == "camera a: dark"
    stalled = replace(without, watch=Watch(count=1, advanced_ns=ago(600)))
    said = "no inference completed for 0.60 s (limit 0.5 s)"
    assert may_engage(stalled, NOW, blind, OPTIONS) == said
    silent = replace(blind, heartbeat=Heartbeat(1, ago(101)))
    said = "policy/heartbeat: nothing for 101 ms (limit 100 ms)"
    assert may_engage(stalled, NOW, silent, OPTIONS) == said
    home = replace(ready, homing=True)
    assert may_hand_back(home, NOW, READY, OPTIONS) == "the home motion is running"


def test_what_forbids_a_person_is_told():
    insists = replace(OPTIONS, takeover=TakeoverOptions(tolerance=0.25))

    def said(state=STILL, options=insists, **target):
        inputs = replace(NOTHING, target=Target(**target)) if target else NOTHING
        return may_take_over(state, NOW, inputs, options)

    near = {"position": START + 0.2, "source": "leader", "received_ns": ago(1)}
    far = {**near, "position": START + np.array([0.0, 0.3, 0.0])}
    assert said() == "no operator/target has been received"
    assert said(**near) == ""
    assert said(**{**near, "received_ns": ago(91)}) == (
        "operator/target: nothing for 91 ms (limit 90 ms)"
    )
    assert "lift" in said(**far)
    assert said(options=OPTIONS, **far) == ""
    assert said(replace(STILL, plan=None), **far) == ""


def test_what_forbids_a_reset_is_told_in_order():
    def said(state, **inputs):
        return may_reset(state, NOW, replace(READY, **inputs), OPTIONS)

    def latched(*faults):
        return replace(STILL, faults=dict.fromkeys(faults, "seen"))

    assert said(STILL) == ""
    moves = {"measured": measured(velocity=(1.0, 0.0, 0.0))}
    assert said(STILL, **moves) == "the arm is moving"
    # The emergency stop and joint states count whatever was latched.
    assert said(STILL, estop=True, **moves) == "the cause is still there: estop is true"
    gone = {"measured": None}
    assert said(STILL, **gone) == "the cause is still there: no joint_states have been received"
    # Of the others, what was latched and stops for good; not what only pauses.
    two = {"publishers": 2}
    assert said(STILL, **two) == ""
    foreign = "the cause is still there: 2 publishers on the controller's command topic, 1 allowed"
    assert said(latched(Fault.FOREIGN_PUBLISHER), **two) == foreign
    flooded = {"around": Surroundings(flood="joint_states: too many")}
    assert said(latched(Fault.MESSAGE_FLOOD), **flooded).endswith("joint_states: too many")
    assert said(latched(Fault.POLICY_LOST), heartbeat=None) == ""
    # What a reset gives up does not stand in its way.
    assert said(latched(Fault.CLOCK_STEPPED), ros_offset_ns=10**9) == ""
    broken = latched(Fault.GATE_TRIPPED)
    assert said(broken, estop=True) == f"{Fault.GATE_TRIPPED.value}: restart the supervisor"
    now = replace(broken, since_ns=NOW)
    assert said(now, estop=True) == "it was latched just now; look at it first"

# SPDX-License-Identifier: Apache-2.0
"""When an operator's act is permitted, beyond what the mode table allows.

Each permit returns the reason why not, or "".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from levine_policy_node.core.controller_watch import controller_lost
from levine_policy_node.core.faults import RESPONSES, Clears, Fault, Severity
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import Inputs, SupervisorOptions, SupervisorState
from levine_policy_node.core.takeover import misaligned
from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.core.watchdogs import (
    causes_seen,
    counting,
    enable_missing,
    foreign_publisher,
    joint_states_late,
    policy_lost,
    policy_stalled,
    standing,
    target_late,
)

# Without the joint states nobody knows whether the arm stands.
_ALWAYS = frozenset({Fault.ESTOP_PRESSED, Fault.ESTOP_SILENT, Fault.JOINT_STATES_LOST})
# These are judged by what a reset gives up: the held command, the held clock, the count.
_GIVEN_UP = frozenset(
    {Fault.TRACKING, Fault.CLOCK_STEPPED, Fault.BAD_CHUNKS, Fault.JOINT_STATES_FROZEN}
)

Permit = Callable[[SupervisorState, SteadyNs, Inputs, SupervisorOptions], str]


def may_arm(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """The arm is seen, stands inside its limits, its controller listens, and to nobody else.

    What cannot be heard may be the emergency stop, and a second robot would move, too. Clocks that
    differ would put what is seen and what is commanded at the wrong times.
    """
    late = joint_states_late(now_ns, inputs, options)
    if late or inputs.measured is None:
        return late
    outside = options.limits.outside(options.limits.resting(inputs.measured.position))
    if outside:
        return f"{outside}; move the arm into its range by hand"
    if not standing(state, now_ns, inputs, options):
        return "the arm is moving"
    around = inputs.around
    return (
        foreign_publisher(inputs)
        or around.graph
        or controller_lost(now_ns, inputs, options)
        or enable_missing(now_ns, inputs, options)
        or around.flood
        or around.clock_skew
    )


def may_engage(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """The policy lives, sees, and its newest chunk covers the time when it would begin."""
    not_ready = (
        policy_lost(now_ns, inputs, options)
        or policy_stalled(state.watch, now_ns, options)
        or inputs.around.policy_problem
    )
    if not_ready:
        return not_ready
    begin_ns = int(now_ns) + nanoseconds(options.lead_s)
    if state.reference is None:
        return "no usable policy/action_chunk has been received"
    if state.reference.end_ns <= begin_ns:
        return "the newest policy/action_chunk is over"
    return ""


def may_take_over(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """The operator's device is alive and, if the supervisor is to insist, agrees with the arm."""
    late = target_late(now_ns, inputs, options)
    if late or inputs.target is None or state.plan is None:
        return late
    commanded = state.plan.sample(now_ns).position
    return misaligned(inputs.target, commanded, options.limits.names, options.takeover)


def may_hand_back(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """A person was in control, not the home motion, and the policy is ready."""
    if state.homing:
        return "the home motion is running"
    return may_engage(state, now_ns, inputs, options)


def may_reset(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """The latch was there before the act, every cause is gone, and the arm stands."""
    if state.since_ns == now_ns:
        return "it was latched just now; look at it first"
    latched = [f for f in state.faults if RESPONSES[f].clears is Clears.NEVER]
    if latched:
        return f"{latched[0].value}: restart the supervisor"
    causes = causes_seen(state, now_ns, inputs, options)
    latching = {fault for fault in state.faults if RESPONSES[fault].severity > Severity.PAUSE}
    needed = (latching | _ALWAYS) - _GIVEN_UP
    present = [text for fault, text in causes.items() if fault in needed]
    if present:
        return f"the cause is still there: {present[0]}"
    return "" if standing(state, now_ns, inputs, options) else "the arm is moving"


def may_home(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """Nothing beyond the mode: the arm is armed and stands."""
    del state, now_ns, inputs, options
    return ""


def hindrance(
    ready: SupervisorState,
    wanted: Mode,
    now_ns: SteadyNs,
    inputs: Inputs,
    options: SupervisorOptions,
) -> str:
    """The cause that would stop the mode an act leads to at once, or ""."""
    present = counting(causes_seen(ready, now_ns, inputs, options), wanted)
    return next((f"{fault.value}: {text}" for fault, text in present.items()), "")


PERMITS: Mapping[Event, Permit] = {
    Event.ARM: may_arm,
    Event.ENGAGE: may_engage,
    Event.RESUME: may_engage,
    Event.TAKEOVER: may_take_over,
    Event.HANDBACK: may_hand_back,
    Event.RESET: may_reset,
    Event.HOME: may_home,
}

# SPDX-License-Identifier: Apache-2.0
"""How a plan turns into the next one: stop, go somewhere, or fall back to what was sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.plan import STOP, Plan
from levine_policy_node.core.shaper import brake, move_to
from levine_policy_node.core.supervision import SupervisorOptions, SupervisorState
from levine_policy_node.core.units import FloatArray, SteadyNs, nanoseconds, seconds

HOME_SOURCE = "operator:home"
_LATER_NS = nanoseconds(0.02)
# Ticks without a command after which an arm that is sent single positions has come to a stand.
_STOOD_TICKS = 3.5
_LATE_TICKS = 0.5


def lead_time(now_ns: SteadyNs, options: SupervisorOptions) -> SteadyNs:
    """From when on a plan may differ from what the controller already has."""
    return SteadyNs(int(now_ns) + nanoseconds(options.kept_s))


def stopped(plan: Plan, now_ns: SteadyNs, options: SupervisorOptions) -> Plan:
    """Brake as soon as the controller can be told and the limits allow.

    A plan that is about to end anyway is left to.
    """
    splice_ns = plan.splice_time(lead_time(now_ns, options))
    while not plan.stopping(splice_ns):
        stop = brake(plan.sample(splice_ns), options.limits, splice_ns)
        if stop is not None:
            return plan.spliced(now_ns, stop, ((int(splice_ns), STOP),))
        splice_ns = plan.splice_time(SteadyNs(splice_ns + _LATER_NS))
    return plan


def going_to(
    plan: Plan, target: FloatArray, source: str, now_ns: SteadyNs, options: SupervisorOptions
) -> Plan | None:
    """Go to rest at `target` (J,) [rad], moved into the position range where it is outside.

    Returns:
        The plan, or None if there is no motion within the limits.
    """
    limits = options.limits
    splice_ns = plan.splice_time(lead_time(now_ns, options))
    wanted = np.clip(target, limits.lower, limits.upper)
    motion = move_to(plan.sample(splice_ns), wanted, limits, splice_ns)
    if motion is None:
        return None
    return plan.spliced(now_ns, motion, ((int(splice_ns), source),))


def armed_position(
    state: SupervisorState, measured: FloatArray, options: SupervisorOptions
) -> FloatArray:
    """Where an arm begins to be commanded.

    The controller still holds what it was last told, and the arm hangs a little below it, so
    that is taken up again if the arm is near it.
    """
    if state.plan is not None:
        held = state.plan.timeline.positions[-1]
        if np.max(np.abs(held - measured)) <= options.resume_distance:
            return held
    return options.limits.resting(measured)


def after_late_tick(
    state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions
) -> Plan | None:
    """The plan, moved by the time a controller of single positions waited for this tick.

    It held the last position meanwhile: where the plan has got to by now is a step away, where it
    was one tick after the last is not. None if the tick was punctual, or the plan over by then.
    """
    if options.sends_windows or state.plan is None or state.ticked_ns is None or not state.ticks:
        return None
    late_ns = int(now_ns - state.ticked_ns) - nanoseconds(options.tick_s)
    over = int(now_ns) - late_ns >= state.plan.end_ns
    if late_ns <= nanoseconds(_LATE_TICKS * options.tick_s) or over:
        return None
    return state.plan.delayed(late_ns)


@dataclass(frozen=True, slots=True)
class Overrun:
    """A tick that came too late.

    Attributes:
        plan: What the controller follows since: the brake it had been given, or, if it holds the
            last position meanwhile, standing there.
        gap_s: Time since the tick before [s].
    """

    plan: Plan
    gap_s: float


def after_overrun(
    state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions
) -> Overrun | None:
    """What the controller has fallen back to, or None if this tick came in time."""
    if state.plan is None or state.ticked_ns is None:
        return None
    gap_s = seconds(now_ns - state.ticked_ns)
    if options.sends_windows:
        # Since the clock stepped, no window is sent that could run out.
        lasts = Fault.CLOCK_STEPPED in state.faults
        if lasts or state.sent is None or lead_time(now_ns, options) <= state.sent_until_ns:
            return None
        return Overrun(Plan(state.sent, ((int(state.sent.start_ns), STOP),)), gap_s)
    if gap_s <= _STOOD_TICKS * options.tick_s or not state.ticks:
        return None
    held = state.ticks[-1][1]
    if np.array_equal(held, state.plan.sample(now_ns).position):
        return None
    return Overrun(Plan.holding(options.limits.names, held, now_ns), gap_s)

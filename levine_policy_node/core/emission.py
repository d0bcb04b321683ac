# SPDX-License-Identifier: Apache-2.0
"""What one tick sends, once the mode and the plan are decided."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.gate import TICKS_COMPARED, tick_trip, window_trip
from levine_policy_node.core.modes import COMMANDING, LATCHED, MOVING, Mode
from levine_policy_node.core.motions import HOME_SOURCE, lead_time
from levine_policy_node.core.plan import HOLD, STOP, Plan
from levine_policy_node.core.supervision import Rest, SupervisorOptions, SupervisorState
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import SteadyNs, nanoseconds, seconds

# A window is sent with the tick nearest its period, also when that tick is a little early.
_DUE_SHARE = 0.75
_REST_SHARE = 1.5


@dataclass(frozen=True, slots=True)
class Emission:
    """What is to be sent.

    Attributes:
        command: The commanded state now; None where nothing is sent.
        window: For the controller; None if not due.
        window_until_ns: Until when the window is the plan; then comes its brake.
        rest: For the controller instead, whatever its clock says; None if not due.
    """

    command: JointPoint | None = None
    window: Timeline[SteadyNs] | None = None
    window_until_ns: int = 0
    rest: Rest | None = None


def window_due(state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions) -> bool:
    """Whether this tick sends a window anyway; single positions are sent with every tick."""
    period_ns = nanoseconds(options.command_period_s * _DUE_SHARE)
    return not options.sends_windows or now_ns >= state.sent_ns + period_ns


def emission(
    state: SupervisorState,
    before: SupervisorState,
    now_ns: SteadyNs,
    options: SupervisorOptions,
) -> Emission:
    """Choose the command and the window of this tick.

    Args:
        state: As this tick decided it.
        before: As the last tick left it; a new plan is sent at once.
        now_ns: Present time.
        options: Of the supervisor.
    """
    # An e-stop is answered with one last brake; after it there is silence.
    last_brake = (
        state.mode.mode in LATCHED and before.mode.mode in MOVING and options.sends_windows
    )
    plan = state.plan
    if plan is None or not (state.mode.mode in COMMANDING or last_brake):
        return Emission()
    command = None if last_brake else plan.sample(now_ns)
    if Fault.CLOCK_STEPPED in state.faults:
        # A controller that takes a window for one of the future goes there from where it is,
        # anew with each, and on for as long as its clock was set back if it hears nothing more.
        due = Fault.CLOCK_STEPPED not in before.faults and options.sends_windows
        return Emission(command, rest=_rest(plan, now_ns) if due else None)
    unchanged = plan is before.plan and state.sent is not None
    if not options.sends_windows or (unchanged and not window_due(state, now_ns, options)):
        return Emission(command)
    end_ns = SteadyNs(int(now_ns) + nanoseconds(options.window_s))
    window, until_ns = plan.window(now_ns, end_ns, options.limits)
    return Emission(command, window, until_ns)


def _rest(plan: Plan, now_ns: SteadyNs) -> Rest | None:
    """Where a plan that stops ends; None if it has.

    The controller may follow the plan, go on as it went, or hold since its clock stepped. A
    quintic that is given half as long again as the stop takes keeps each of these within 1.4
    times the acceleration of the stop.
    """
    left_s = seconds(plan.end_ns - int(now_ns))
    if left_s <= 0.0:
        return None
    return Rest(plan.timeline.positions[-1], _REST_SHARE * left_s)


def emission_trip(
    sending: Emission, state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions
) -> str:
    """Pass the last gate: say why this must not be sent, or return ""."""
    if sending.command is not None:
        before = state.ticks[-TICKS_COMPARED:]
        trip = tick_trip(before, now_ns, sending.command.position, options.limits)
        if trip:
            return f"command: {trip}"
    if sending.window is not None:
        seams = (now_ns, lead_time(now_ns, options))
        trip = window_trip(sending.window, state.sent, seams, options.limits)
        if trip:
            return f"window: {trip}"
    return ""


def fallback(before: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions) -> Plan | None:
    """The plan to return to after a trip: what was sent, which ends at rest.

    Single positions have no such end, so the last one is held.
    """
    if before.sent is not None:
        return Plan(before.sent, ((int(before.sent.start_ns), STOP),))
    if before.ticks:
        return Plan.holding(options.limits.names, before.ticks[-1][1], now_ns)
    return before.plan


def proposal(
    state: SupervisorState,
    command: JointPoint,
    now_ns: SteadyNs,
    options: SupervisorOptions,
) -> tuple[JointPoint, str]:
    """What the active source asks for now, else what is commanded.

    A policy's is before any limit; a person's is within the range of each joint.
    """
    mode, reference, lead = state.mode.mode, state.reference, state.lead
    if mode is Mode.POLICY and reference is not None and reference.covers(now_ns):
        return reference.sample(now_ns), reference.source
    if mode is Mode.HUMAN and state.homing:
        return JointPoint.at_rest(options.home), HOME_SOURCE
    if mode is Mode.HUMAN and lead is not None:
        return JointPoint.at_rest(lead.goal), lead.source
    return command, state.plan.source(now_ns) if state.plan is not None else HOLD

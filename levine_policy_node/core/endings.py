# SPDX-License-Identifier: Apache-2.0
"""What comes to an end by itself: a self-test, a stop, the home motion, a pause nobody needs."""

from __future__ import annotations

from levine_policy_node.core.faults import RESPONSES, Clears, Fault
from levine_policy_node.core.modes import Event, Mode, ModeState
from levine_policy_node.core.supervision import Inputs, SupervisorOptions, SupervisorState
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import SteadyNs, seconds
from levine_policy_node.core.watchdogs import policy_lost, standing


def ending(
    state: SupervisorState,
    was: ModeState,
    now_ns: SteadyNs,
    inputs: Inputs,
    options: SupervisorOptions,
) -> tuple[Event, str] | None:
    """The event that this tick brings about by itself, with its cause.

    Args:
        state: As decided so far.
        was: Mode before this tick; what began just now is not over yet.
        now_ns: Present time.
        inputs: Of this tick.
        options: Of the supervisor.
    """
    mode = state.mode.mode
    if mode is Mode.INIT and not any(
        RESPONSES[fault].clears is Clears.NEVER for fault in state.faults
    ):
        return Event.READY, "self-test passed"
    if mode is not was.mode:
        return None
    still = standing(state, now_ns, inputs, options)
    if mode is Mode.STOPPING and still:
        return Event.STANDSTILL, "the arm stands"
    if mode is Mode.STOPPING and Fault.STOP_OVERDUE in state.faults and _played(state, now_ns):
        return Event.OVERDUE, "braking is over and the arm still moves"
    if mode is Mode.HUMAN and state.homing and still:
        return Event.FINISHED, "home is reached"
    if mode is Mode.PAUSED and policy_lost(now_ns, inputs, options):
        heard_ns = inputs.heartbeat.received_ns if inputs.heartbeat is not None else 0
        silent_s = seconds(int(now_ns) - max(int(heard_ns), int(state.since_ns)))
        if silent_s > options.abandon_s:
            return Event.ABANDONED, f"no policy for {silent_s:.1f} s in PAUSED"
    return None


def _played(state: SupervisorState, now_ns: SteadyNs) -> bool:
    """Whether the commanded motion is over: there is nothing left to tell the arm."""
    return state.plan is None or now_ns >= state.plan.end_ns


def ran_out(state: SupervisorState, now_ns: SteadyNs) -> Timeline[SteadyNs] | None:
    """The chunk whose plan began to brake since the last tick, in lack of another; else None.

    What a person asked for before a handback comes to rest without that.
    """
    plan, ticked_ns, chunk = state.plan, state.ticked_ns, state.reference
    if state.mode.mode is not Mode.POLICY or plan is None or ticked_ns is None or chunk is None:
        return None
    over = plan.stopping(now_ns) and plan.source(ticked_ns) == chunk.source
    return chunk if over else None


def starvation(chunk: Timeline[SteadyNs], now_ns: SteadyNs) -> str:
    """Say what ran out, in figures."""
    age_s = seconds(now_ns - chunk.start_ns)
    return (
        f"the newest chunk is over; braking. It began {age_s:.2f} s ago and lasted "
        f"{chunk.duration_s:.2f} s"
    )

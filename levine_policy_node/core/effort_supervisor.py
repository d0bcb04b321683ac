# SPDX-License-Identifier: Apache-2.0
"""One tick of the supervisor for an arm that takes efforts, around `supervisor.step`.

Modes, permits, faults, replies and the motions to poses are those of any arm: `step` decides them,
on a plan of positions. Here the plan becomes torque:

* The policy pushes: its efforts are sent, within the bounds, and the plan is wherever the arm is.
* The policy's efforts have ended, or the arm must stop: it is braked by damping, the plan stays
  wherever the arm is, and once the arm stands there it is held there.
* The supervisor moves or holds the arm: a spring and a damper pull it along the plan.

Efforts need a measurement. Spring and damper fade as it ages, since a damper that acts on an old
velocity pushes an arm that has stopped meanwhile. While joint states are late nothing is sent, and
the robot's own command timeout brakes the arm, as it does when this process dies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levine_policy_node.core.effort_limits import (
    EffortOptions,
    bounded,
    held_position,
    impedance,
    running_away,
)
from levine_policy_node.core.effort_memory import Pushing
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.faults import Fault, Severity
from levine_policy_node.core.modes import ENERGISED, Mode
from levine_policy_node.core.plan import STOP, Plan
from levine_policy_node.core.shaper import stand
from levine_policy_node.core.supervision import (
    Decision,
    Inputs,
    Measured,
    Occurrence,
    SupervisorOptions,
    SupervisorState,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs, SteadyNs, seconds
from levine_policy_node.core.watchdogs import joint_states_late

_LATEST_START_S = 2.0
# `step` follows a reference of this length at least.
_SHOWN_S = 0.2
_OVER_S = 0.01
# Joint states come every 20 ms at least, and a tick is decided up to 6 ms ahead.
_FRESH_S, _STALE_S = 0.03, 0.06


def step_efforts(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> tuple[SupervisorState, Decision]:
    """Decide one tick; see `supervisor.step`.

    Args:
        state: What the last tick returned, or `SupervisorState()`.
        now_ns: Present time on the steady clock; later than in the last tick.
        inputs: What arrived since; the policy's chunks are in `pushes`.
        options: With `efforts`.

    Returns:
        The next state and what to send (`efforts`), say and reply.

    Raises:
        ValueError: If `options` are those of an arm that takes positions.
    """
    if options.efforts is None:
        raise ValueError("step_efforts: the arm takes positions")
    passed_s = 0.0 if state.ticked_ns is None else seconds(now_ns - state.ticked_ns)
    state, refused = _with_rows(state, now_ns, inputs)
    seen: dict[Fault, str] = {}
    if inputs.measured is not None:
        state = _shown(state, now_ns, inputs.measured, options)
        if state.mode.mode is Mode.POLICY:
            seen = _seen(inputs.measured, passed_s, options)
    waited = state.handed
    state, decision = step(state, now_ns, replace(inputs, seen=seen), options)
    state = _anew(state) if waited is None else state
    decision = replace(decision, occurrences=(*refused, *decision.occurrences))
    measured = inputs.measured
    if decision.command is None or measured is None:
        return replace(state, pushing=replace(state.pushing, loose=False)), decision
    if joint_states_late(now_ns, inputs, options):
        silent = replace(state.pushing, loose=True)
        return replace(state, pushing=silent), replace(decision, command=None)
    state, point, pushed = _led(state, now_ns, measured, decision.command, options)
    asked = pushed
    if asked is None:
        asked = impedance(point, measured.position, measured.velocity, options.efforts)
        asked = asked * _freshness(measured, now_ns)
    before = _in_force(state.pushing, now_ns, options.efforts)
    sent = _sent(asked, before, min(passed_s, options.tick_s), options.efforts)
    source = decision.source
    if state.pushing.loose and pushed is None:
        source = STOP
    elif pushed is not None and state.pushing.rows is not None:
        source = state.pushing.rows.source
    if sent is not None:
        state = replace(state, pushing=replace(state.pushing, sent=sent, sent_ns=now_ns))
    return state, replace(
        decision, command=point, source=source, efforts=sent, asked_efforts=asked
    )


def _anew(state: SupervisorState) -> SupervisorState:
    """What the policy wanted before a handback is not pushed with."""
    if state.handed is None:
        return state
    return replace(state, pushing=replace(state.pushing, rows=None))


def _with_rows(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs
) -> tuple[SupervisorState, list[Occurrence]]:
    """Take the newest efforts over, on the steady clock."""
    held = state.mode.mode in ENERGISED
    offset_ns = state.offset_ns if held else inputs.ros_offset_ns
    refused: list[Occurrence] = []
    rows, handed = state.pushing.rows, state.handed
    for push in inputs.pushes:
        reason = _meant(push, offset_ns, now_ns)
        if reason:
            refused.append(Occurrence("CHUNK_REFUSED", Severity.NOTICE, reason))
            continue
        start_ns = SteadyNs(int(push.start_ns) - offset_ns)
        if handed is not None and handed.kills(push.source, int(start_ns)):
            continue
        handed = None
        rows = EffortTimeline(push.joint_names, start_ns, push.times_s, push.efforts, push.source)
    watch = replace(state.watch, bad_chunks=0) if inputs.pushes else state.watch
    pushing = replace(state.pushing, rows=rows)
    return replace(state, watch=watch, pushing=pushing, handed=handed), refused


def _meant(push: EffortTimeline[StampNs], offset_ns: int, now_ns: SteadyNs) -> str:
    """Why the times of these efforts cannot be meant, or ""."""
    ahead_s = seconds(int(push.start_ns) - offset_ns - int(now_ns))
    if ahead_s > _LATEST_START_S:
        return f"the chunk starts {ahead_s:.1f} s in the future"
    if ahead_s + push.duration_s <= 0.0:
        return f"the chunk ended {-ahead_s - push.duration_s:.2f} s ago"
    return ""


def _shown(
    state: SupervisorState, now_ns: SteadyNs, measured: Measured, options: SupervisorOptions
) -> SupervisorState:
    """What `step` is shown of efforts: to stand where the arm is, for as long as they last."""
    rows, limits = state.pushing.rows, options.limits
    if rows is None:
        return state
    here = held_position(measured.position, limits)
    left_s = (rows.end_ns - int(now_ns)) / NS_PER_S
    if left_s > 0.0:
        reference = stand(here, limits, now_ns, left_s + _SHOWN_S)
    else:
        begin_ns = SteadyNs(int(now_ns) - round(_OVER_S * NS_PER_S))
        reference = stand(here, limits, begin_ns, _OVER_S)
    reference = replace(reference, source=rows.source)
    if state.mode.mode is not Mode.POLICY:
        return replace(state, reference=reference)
    plan = _plan_of(rows, here, now_ns, options)
    return replace(state, reference=reference, plan=plan, ticks=())


def _plan_of(
    rows: EffortTimeline[SteadyNs], here: FloatArray, now_ns: SteadyNs, options: SupervisorOptions
) -> Plan:
    """The plan is where the arm is, until the efforts end."""
    left_s = (rows.end_ns - int(now_ns)) / NS_PER_S
    if left_s > 0.0:
        standing = stand(here, options.limits, now_ns, left_s)
        return Plan(standing, ((int(now_ns), rows.source),))
    over = Plan.holding(options.limits.names, here, now_ns)
    return replace(over, marks=((int(rows.start_ns), rows.source), (rows.end_ns, STOP)))


def _seen(measured: Measured, passed_s: float, options: SupervisorOptions) -> dict[Fault, str]:
    """Faults of an arm that the policy pushes, which no plan can show."""
    seen: dict[Fault, str] = {}
    away = running_away(measured.position, measured.velocity, options.limits)
    if away:
        seen[Fault.RUNS_AWAY] = away
    if passed_s > options.overrun_s:
        seen[Fault.OVERRUN] = f"{passed_s * 1e3:.0f} ms between two ticks"
    return seen


def _led(
    state: SupervisorState,
    now_ns: SteadyNs,
    measured: Measured,
    command: JointPoint,
    options: SupervisorOptions,
) -> tuple[SupervisorState, JointPoint, FloatArray | None]:
    """Where the arm is led now, and the policy's efforts if it is they that lead."""
    memory, mode = state.pushing, state.mode.mode
    if mode is Mode.HUMAN:
        return replace(state, pushing=replace(memory, loose=False)), command, None
    # What blocks the arm is not to be pushed at after the stop.
    blocked = Fault.TRACKING in state.faults
    if mode is not Mode.POLICY and not memory.loose and not blocked:
        return state, command, None
    here = held_position(measured.position, options.limits)
    pushed = None
    if mode is Mode.POLICY and memory.rows is not None:
        pushed = memory.rows.at(now_ns)
        plan = _plan_of(memory.rows, here, now_ns, options)
    else:
        plan = Plan.holding(options.limits.names, here, now_ns)
    moving = bool(np.max(np.abs(measured.velocity)) > options.rest_velocity)
    loose = replace(memory, loose=mode is Mode.POLICY or moving)
    state = replace(state, plan=plan, ticks=(), pushing=loose)
    return state, JointPoint.at_rest(here), pushed


def _freshness(measured: Measured, now_ns: SteadyNs) -> float:
    """How far a measurement of this age is to be acted on, 1 to 0."""
    age_s = seconds(now_ns - measured.received_ns)
    return float(np.clip((_STALE_S - age_s) / (_STALE_S - _FRESH_S), 0.0, 1.0))


def _in_force(memory: Pushing, now_ns: SteadyNs, options: EffortOptions) -> FloatArray | None:
    """What the robot still pushes with; None once it has stopped by itself."""
    silent = seconds(now_ns - memory.sent_ns) >= options.timeout_s
    return None if silent else memory.sent


def _sent(
    asked: FloatArray, before: FloatArray | None, passed_s: float, options: EffortOptions
) -> FloatArray | None:
    """What is sent: within the bounds, and nothing where that cannot be computed."""
    sent = bounded(asked, before, passed_s, options)
    return sent if np.all(np.isfinite(sent)) else None

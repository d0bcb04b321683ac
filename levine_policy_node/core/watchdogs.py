# SPDX-License-Identifier: Apache-2.0
"""How each fault is noticed. All ages are on the steady clock.

A fault stops the arm with the tick that sees it, one period after what is told here at most. What
the policy's process sees wrong with its cameras it tells itself (`observation_news`); what the
controller commands is compared in `controller_watch`, 40 ms at 50 Hz.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levine_policy_node.core.controller_watch import controller_faults, controller_watched
from levine_policy_node.core.faults import RESPONSES, Fault
from levine_policy_node.core.modes import Mode
from levine_policy_node.core.supervision import (
    Inputs,
    SupervisorOptions,
    SupervisorState,
)
from levine_policy_node.core.units import FloatArray, SteadyNs, nanoseconds, seconds
from levine_policy_node.core.watch import Watch


def watched(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> Watch:
    """Update what the watchdogs remember from this tick's inputs."""
    watch, heartbeat = state.watch, inputs.heartbeat
    if heartbeat is not None and heartbeat.count != watch.count:
        watch = replace(watch, count=heartbeat.count, advanced_ns=heartbeat.received_ns)
    measured = inputs.measured
    if measured is not None and not _same(measured.position, watch.seen):
        watch = replace(watch, seen=measured.position, seen_ns=measured.received_ns)
    off = bool(tracking_error(state, now_ns, inputs, options))
    since = (watch.tracking_since_ns or now_ns) if off else None
    # After a handback the policy begins anew; what never infers is not waited for.
    patient_s = options.inference_stall_s if state.handed is not None else 0.0
    starving = (
        state.mode.mode is Mode.POLICY
        and state.plan is not None
        and now_ns >= state.plan.end_ns
        and now_ns > state.since_ns + nanoseconds(patient_s)
    )
    starving_ns = (watch.starving_ns or now_ns) if starving else None
    controller = controller_watched(state, inputs, options)
    return replace(watch, tracking_since_ns=since, starving_ns=starving_ns, controller=controller)


def causes_seen(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> dict[Fault, str]:
    """Every fault whose cause is there now, with evidence, whether it counts or not."""
    found = {
        Fault.ESTOP_PRESSED: "estop is true" if inputs.estop else "",
        Fault.ESTOP_SILENT: _estop_silent(now_ns, inputs, options),
        Fault.JOINT_STATES_LOST: joint_states_late(now_ns, inputs, options),
        Fault.TRACKING: _tracking_lost(state, now_ns, inputs, options),
        Fault.POLICY_LOST: policy_lost(now_ns, inputs, options),
        Fault.POLICY_STALLED: policy_stalled(state.watch, now_ns, options),
        Fault.STARVED: _starved(state.watch, now_ns, options),
        Fault.BAD_CHUNKS: _bad_chunks(state.watch),
        Fault.CONTACT: contact(inputs, options),
        Fault.OPERATOR_LOST: _operator_lost(state, now_ns, inputs, options),
        Fault.FOREIGN_PUBLISHER: foreign_publisher(inputs),
        Fault.CLOCK_STEPPED: clock_stepped(state, inputs, options),
        Fault.STOP_OVERDUE: _stop_overdue(state, now_ns, options),
        Fault.OBSERVATION_BAD: inputs.around.policy_problem,
        Fault.MESSAGE_FLOOD: inputs.around.flood,
        Fault.JOINT_STATES_FROZEN: joint_states_frozen(state, now_ns, options),
        Fault.ENABLE_LOST: enable_missing(now_ns, inputs, options),
        **controller_faults(state.watch.controller, now_ns, inputs, options),
        **inputs.seen,
    }
    return {fault: evidence for fault, evidence in found.items() if evidence}


def counting(causes: dict[Fault, str], mode: Mode) -> dict[Fault, str]:
    """The faults that count in `mode`."""
    return {f: evidence for f, evidence in causes.items() if mode in RESPONSES[f].modes}


def joint_states_late(now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions) -> str:
    """Say how old the joint states are if that is too old, else return ""."""
    if inputs.measured is None:
        return "no joint_states have been received"
    return _late(
        "joint_states", now_ns, inputs.measured.received_ns, options.joint_state_timeout_s
    )


def policy_lost(now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions) -> str:
    """Say how long the policy has been silent if that is too long, else return ""."""
    if inputs.heartbeat is None:
        return "no policy/heartbeat has been received"
    return _late(
        "policy/heartbeat", now_ns, inputs.heartbeat.received_ns, options.policy_timeout_s
    )


def policy_stalled(watch: Watch, now_ns: SteadyNs, options: SupervisorOptions) -> str:
    """Say since when no inference has completed if that is too long, else return ""."""
    age_s = seconds(now_ns - watch.advanced_ns)
    if watch.count < 0 or age_s <= options.inference_stall_s:
        return ""
    return f"no inference completed for {age_s:.2f} s (limit {options.inference_stall_s:g} s)"


def target_late(now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions) -> str:
    """Say how old the operator's target is if that is too old, else return ""."""
    if inputs.target is None:
        return "no operator/target has been received"
    return _late("operator/target", now_ns, inputs.target.received_ns, options.target_timeout_s)


def foreign_publisher(inputs: Inputs) -> str:
    """Say who else publishes on the controller's topic, else return ""."""
    if inputs.publishers <= 1:
        return ""
    return f"{inputs.publishers} publishers on the controller's command topic, 1 allowed"


def clock_stepped(state: SupervisorState, inputs: Inputs, options: SupervisorOptions) -> str:
    """Say how far the ROS clock has moved against the steady clock if too far, else ""."""
    step_s = seconds(inputs.ros_offset_ns - state.offset_ns)
    if abs(step_s) <= options.clock_tolerance_s:
        return ""
    return f"the ROS clock moved by {step_s:+.3f} s against the steady clock"


def tracking_error(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """Say which joint is too far from what was commanded lately, else return ""."""
    measured = inputs.measured
    oldest_ns = int(now_ns) - nanoseconds(options.tracking_delay_s)
    recent = [position for time_ns, position in state.ticks if time_ns >= oldest_ns]
    if measured is None or not recent:
        return ""
    # The arm lags by an unknown time, so it has to lie in the band it was led through.
    table = np.stack(recent)
    below = table.min(axis=0) - measured.position
    above = measured.position - table.max(axis=0)
    error = np.where(options.exempt, 0.0, np.maximum(below, above))
    worst = int(np.argmax(error))
    if error[worst] <= options.tracking_tolerance:
        return ""
    return (
        f"{options.limits.names[worst]} is {error[worst]:.3f} from its command "
        f"(limit {options.tracking_tolerance:g})"
    )


def joint_states_frozen(
    state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions
) -> str:
    """Say how far the arm was led while every joint was measured bit for bit the same, else "".

    What was commanded within the lag that is allowed does not count.
    """
    watch, until_ns = state.watch, int(now_ns) - nanoseconds(options.tracking_delay_s)
    if watch.seen is None or options.efforts is not None:
        return ""
    led = [position for time_ns, position in state.ticks if watch.seen_ns <= time_ns <= until_ns]
    if not led:
        return ""
    motion = np.where(options.exempt, 0.0, np.ptp(np.stack(led), axis=0))
    worst = int(np.argmax(motion))
    if motion[worst] <= options.frozen_motion:
        return ""
    return (
        f"joint_states have been the same for {seconds(now_ns - watch.seen_ns):.2f} s, while "
        f"{options.limits.names[worst]} was led {motion[worst]:.3f} on "
        f"(limit {options.frozen_motion:g})"
    )


def contact(inputs: Inputs, options: SupervisorOptions) -> str:
    """Say which joint is measured to push too hard, else "".

    An effort that is not a number counts as too much where it is watched.
    """
    measured, allowed = inputs.measured, options.contact_effort
    if allowed is None or measured is None:
        return ""
    if measured.effort is None:
        return "joint_states carry no effort, and contact_effort is to be watched"
    pushes = ~(np.abs(measured.effort) <= allowed) & np.isfinite(allowed)
    if not pushes.any():
        return ""
    first = int(np.argmax(pushes))
    return (
        f"{options.limits.names[first]} pushes with {measured.effort[first]:.1f} "
        f"(contact_effort {allowed[first]:g})"
    )


def enable_missing(now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions) -> str:
    """Say that the cell or the robot itself does not permit motion, else return ""."""
    around = inputs.around
    if around.enable is False:
        return "enable is false"
    if options.enable_timeout_s <= 0.0:
        return ""
    if around.enable_ns is None:
        return "nothing on enable"
    return _late("enable", now_ns, around.enable_ns, options.enable_timeout_s)


def standing(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> bool:
    """Whether the commanded motion is over and the arm stands, as far as it can be seen."""
    if state.plan is not None and now_ns < state.plan.end_ns:
        return False
    if inputs.measured is None or joint_states_late(now_ns, inputs, options):
        return True
    speed = np.where(options.exempt, 0.0, np.abs(inputs.measured.velocity))
    return bool(np.max(speed) <= options.rest_velocity)


def _operator_lost(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    """How old the newest target of the device that took over is, if too old."""
    lead, target = state.lead, inputs.target
    if state.homing:
        return ""
    if lead is None or (target is not None and target.source == lead.source):
        return target_late(now_ns, inputs, options)
    # Another device speaks, too; that one does not hold the dead-man of this takeover.
    return _late(
        f"operator/target of {lead.source}", now_ns, lead.heard_ns, options.target_timeout_s
    )


def _same(now: FloatArray, before: FloatArray | None) -> bool:
    return before is not None and bool(np.array_equal(now, before))


def _late(topic: str, now_ns: SteadyNs, received_ns: SteadyNs, timeout_s: float) -> str:
    age_s = seconds(now_ns - received_ns)
    if age_s <= timeout_s:
        return ""
    return f"{topic}: nothing for {age_s * 1e3:.0f} ms (limit {timeout_s * 1e3:.0f} ms)"


def _estop_silent(now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions) -> str:
    if options.estop_heartbeat_s <= 0.0:
        return ""
    if inputs.estop_received_ns is None:
        return "nothing on estop"
    return _late("estop", now_ns, inputs.estop_received_ns, options.estop_heartbeat_s)


def _tracking_lost(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> str:
    since_ns = state.watch.tracking_since_ns
    if since_ns is None or seconds(now_ns - since_ns) < options.tracking_timeout_s:
        return ""
    return tracking_error(state, now_ns, inputs, options)


def _starved(watch: Watch, now_ns: SteadyNs, options: SupervisorOptions) -> str:
    if watch.starving_ns is None:
        return ""
    age_s = seconds(now_ns - watch.starving_ns)
    if age_s < options.starved_timeout_s:
        return ""
    return f"no chunk to play for {age_s:.2f} s (limit {options.starved_timeout_s:g} s)"


def _bad_chunks(watch: Watch) -> str:
    return f"{watch.bad_chunks} unusable chunks in a row" if watch.bad_chunks >= 2 else ""


def _stop_overdue(state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions) -> str:
    if state.mode.mode is not Mode.STOPPING:
        return ""
    age_s = seconds(now_ns - state.since_ns)
    if age_s <= options.stop_timeout_s:
        return ""
    return f"not at rest {age_s:.1f} s after the stop began (limit {options.stop_timeout_s:g} s)"

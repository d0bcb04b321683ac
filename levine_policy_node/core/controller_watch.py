# SPDX-License-Identifier: Apache-2.0
"""Whether the controller does what it was sent, by what it says it commands.

A controller's topic gives no answer: a trajectory that is refused and one that somebody else sends
look the same from here, and the graph shows a second publisher only after up to 2.3 s. What the
controller commands shows both. Two samples out of five that are not what was sent are a fault: 40
ms at 50 Hz. Two writers alternate, so the two need not follow each other.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import COMMANDING
from levine_policy_node.core.supervision import Inputs, SupervisorOptions, SupervisorState
from levine_policy_node.core.surroundings import (
    NO_VERDICTS,
    ControllerMemory,
    Reference,
    Strayed,
)
from levine_policy_node.core.units import FloatArray, SteadyNs, nanoseconds, seconds

_KEPT = 5
_BAD = 2
# Beyond this a controller's stamp says nothing about when it commanded.
_STAMP_TRUST_NS = nanoseconds(0.2)


def controller_watched(
    state: SupervisorState, inputs: Inputs, options: SupervisorOptions
) -> ControllerMemory:
    """Judge what the controller said since the last tick."""
    verdicts = state.watch.controller.verdicts
    if state.mode.mode not in COMMANDING:
        return NO_VERDICTS
    for reference in inputs.around.references:
        band = _commanded(state, reference, options)
        if band is None:
            verdicts = ()
        else:
            verdict = _verdict(state, reference.position, band, options)
            verdicts = (*verdicts, verdict)[-_KEPT:]
    return ControllerMemory(verdicts)


def controller_faults(
    memory: ControllerMemory, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> dict[Fault, str]:
    """What is wrong with the controller, with evidence; "" where nothing is."""
    strayed = [verdict for verdict in memory.verdicts if verdict is not None]
    found = {Fault.CONTROLLER_LOST: controller_lost(now_ns, inputs, options)}
    if len(strayed) >= _BAD:
        refused = all(verdict.stands for verdict in strayed)
        fault = Fault.COMMANDS_REFUSED if refused else Fault.FOREIGN_WRITER
        found[fault] = strayed[-1].evidence
    return found


def controller_lost(now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions) -> str:
    """Say why the controller cannot be commanded, else return ""."""
    around = inputs.around
    if around.inactive:
        return around.inactive
    if around.listeners < 1:
        return "no controller listens to the command topic"
    if around.reference_ns is None:
        return ""
    age_s = seconds(now_ns - around.reference_ns)
    if age_s <= options.controller.timeout_s:
        return ""
    limit_ms = options.controller.timeout_s * 1e3
    return f"the controller has said nothing for {age_s * 1e3:.0f} ms (limit {limit_ms:.0f} ms)"


def _commanded(
    state: SupervisorState, reference: Reference, options: SupervisorOptions
) -> tuple[FloatArray, FloatArray] | None:
    """Lower and upper bound (J,) of what was commanded around then; None if that is not known."""
    watched = options.controller
    stamp_ns = reference.stamp_ns
    if abs(reference.received_ns - stamp_ns) > _STAMP_TRUST_NS:
        stamp_ns = reference.received_ns
    reach_ns = nanoseconds(watched.window_s)
    begin_ns = min(stamp_ns, reference.received_ns) - reach_ns
    end_ns = max(stamp_ns, reference.received_ns) + reach_ns
    settled_ns = begin_ns - nanoseconds(watched.settling_s)
    if state.plan is None or not state.ticks or state.ticks[0][0] > settled_ns:
        return None
    ticked = (position for time_ns, position in state.ticks if begin_ns <= time_ns <= end_ns)
    ends = (state.plan.sample(SteadyNs(time_ns)).position for time_ns in (begin_ns, end_ns))
    around = np.stack(list(chain(ticked, ends)))
    return around.min(axis=0), around.max(axis=0)


def _verdict(
    state: SupervisorState,
    position: FloatArray,
    band: tuple[FloatArray, FloatArray],
    options: SupervisorOptions,
) -> Strayed | None:
    off = _outside(position, *band)
    worst = int(np.argmax(off))
    tolerance = options.controller.tolerance
    # What is not a number is not what was sent.
    if off[worst] <= tolerance:
        return None
    lately = np.stack([tick for _, tick in state.ticks])
    stands = bool(np.all(_outside(position, lately.min(axis=0), lately.max(axis=0)) <= tolerance))
    name = options.limits.names[worst]
    return Strayed(
        stands,
        f"the controller commands {name} {off[worst]:.3f} from what it was sent "
        f"(limit {tolerance:g})",
    )


def _outside(position: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """How far each joint is outside of a band, (J,); infinite where it is not a number."""
    off = np.maximum(np.maximum(low - position, position - high), 0.0)
    return np.where(np.isfinite(off), off, np.inf)

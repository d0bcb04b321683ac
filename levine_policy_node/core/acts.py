# SPDX-License-Identifier: Apache-2.0
"""What an act does besides changing the mode: the plan it needs, or the reason there is none."""

from __future__ import annotations

from dataclasses import replace

from levine_policy_node.core.faults import cleared
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.motions import (
    HOME_SOURCE,
    armed_position,
    going_to,
    lead_time,
    stopped,
)
from levine_policy_node.core.permits import PERMITS, hindrance
from levine_policy_node.core.plan import STOP, Plan
from levine_policy_node.core.reference import (
    Followed,
    Later,
    Prepared,
    Rejected,
    to_steady,
)
from levine_policy_node.core.safe_way import (
    follow_clear,
    follow_if_clear,
    keep_clear,
    slower_limits,
)
from levine_policy_node.core.supervision import Inputs, SupervisorOptions, SupervisorState
from levine_policy_node.core.takeover import Handback, Target, taken_by
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs

NO_CHUNK = Rejected("no usable policy/action_chunk has been received")


def permitted(
    act: Event,
    wanted: Mode,
    state: SupervisorState,
    now_ns: SteadyNs,
    inputs: Inputs,
    options: SupervisorOptions,
) -> SupervisorState | Rejected:
    """Make the state ready for the mode that `act` leads to, or say why the act is refused.

    An act towards less motion has no permit and is never refused. Any other is, if a cause is
    there that would stop the arm at once in the mode it leads to.

    Args:
        act: An operator's act that the mode table allows.
        wanted: The mode it leads to.
        state: Present state.
        now_ns: Present time.
        inputs: Of this tick.
        options: Of the supervisor.
    """
    permit = PERMITS.get(act)
    if permit is None:
        return state
    reason = permit(state, now_ns, inputs, options)
    ready = Rejected(reason) if reason else prepare(act, state, now_ns, inputs, options)
    if isinstance(ready, Rejected):
        return ready
    reason = hindrance(ready, wanted, now_ns, inputs, options)
    return Rejected(reason) if reason else ready


def prepare(
    act: Event,
    state: SupervisorState,
    now_ns: SteadyNs,
    inputs: Inputs,
    options: SupervisorOptions,
) -> SupervisorState | Rejected:
    """Make the state ready for the mode that `act` leads to.

    Args:
        act: An operator's act that has a permit, which allows it.
        state: Present state.
        now_ns: Present time.
        inputs: Of this tick.
        options: Of the supervisor.
    """
    if act is Event.ARM:
        return taken_up(state, now_ns, inputs, options)
    if act in {Event.ENGAGE, Event.RESUME}:
        followed = follow_chunk(state, now_ns, options)
        return followed if isinstance(followed, Rejected) else followed[0]
    if act is Event.HOME:
        return gone_to(state, options.home, HOME_SOURCE, now_ns, options, homing=True)
    if act is Event.HANDBACK:
        return _handed_back(state, now_ns)
    if act is Event.TAKEOVER and inputs.target is not None:
        return _taken_over(state, inputs.target, now_ns, options)
    if act is Event.RESET:
        return _forgiven(state)
    return state


def prepare_chunk(
    chunk: Timeline[StampNs],
    state: SupervisorState,
    now_ns: SteadyNs,
    options: SupervisorOptions,
    planning_s: float | None = None,
) -> Timeline[StampNs] | Prepared:
    """Work out the plan that follows a chunk before a tick takes it.

    Following a chunk is most of the work of any tick, and none of it needs the present moment:
    done in another thread, it delays no tick. If the plan is another by the time of the tick, or
    should have begun, the tick asks for the chunk again (`Decision.unprepared`).

    Args:
        chunk: As it arrived.
        state: Of the last tick.
        now_ns: Present time.
        options: Of the supervisor.
        planning_s: How much later the plan takes effect [s]; None: as the options say.

    Returns:
        The chunk as it is where the policy is not active or the chunk cannot be followed; the
        tick says why.
    """
    if state.mode.mode is not Mode.POLICY or state.plan is None:
        return chunk
    reference = to_steady(chunk, state.offset_ns, now_ns)
    if isinstance(reference, Rejected):
        return chunk
    lead_s = options.kept_s + (options.planning_s if planning_s is None else planning_s)
    around = options.obstacles
    followed = follow_clear(state.plan, reference, now_ns, lead_s, options.limits, around)
    if isinstance(followed, Rejected) and not followed.on_its_way:
        return chunk
    return Prepared(chunk, reference, state.plan, followed)


def follow_chunk(
    state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions
) -> tuple[SupervisorState, Followed] | Rejected:
    """Follow the newest chunk from the commanded state, as far as its way is clear.

    Returns:
        The state with the new plan and what became of the chunk, or why not.
    """
    if state.plan is None or state.reference is None:
        return NO_CHUNK
    followed = follow_clear(
        state.plan, state.reference, now_ns, options.kept_s, options.limits, options.obstacles
    )
    return followed if isinstance(followed, Rejected) else _following(state, followed)


def follow_prepared(
    prepared: Prepared | None,
    state: SupervisorState,
    now_ns: SteadyNs,
    options: SupervisorOptions,
) -> tuple[SupervisorState, Followed] | Rejected | Later:
    """Follow the newest chunk as `follow_chunk` does, as far as a tick has time for it.

    Args:
        prepared: The newest chunk if its plan was worked out before; used if it still holds.
        state: Present state.
        now_ns: Present time.
        options: Of the supervisor.

    Returns:
        Later if the chunk is to be prepared from the present plan, which goes on meanwhile.
    """
    if state.plan is None or state.reference is None:
        return NO_CHUNK
    if prepared is not None:
        # A chunk that took too long to prepare would take as long in this tick.
        holds = _still_holds(prepared, state, now_ns, options)
        followed = prepared.followed if holds else Later()
    else:
        followed = follow_if_clear(
            state.plan, state.reference, now_ns, options.kept_s, options.limits, options.obstacles
        )
    return _following(state, followed) if isinstance(followed, Followed) else followed


def _following(state: SupervisorState, followed: Followed) -> tuple[SupervisorState, Followed]:
    watch = replace(state.watch, starving_ns=None)
    return replace(state, plan=followed.plan, watch=watch), followed


def _still_holds(
    prepared: Prepared, state: SupervisorState, now_ns: SteadyNs, options: SupervisorOptions
) -> bool:
    if prepared.before is not state.plan or prepared.reference is not state.reference:
        return False
    followed = prepared.followed
    # What is in the way now is in the way a little later, too.
    return isinstance(followed, Rejected) or followed.splice_ns >= lead_time(now_ns, options)


def gone_to(
    state: SupervisorState,
    pose: FloatArray,
    source: str,
    now_ns: SteadyNs,
    options: SupervisorOptions,
    *,
    homing: bool = False,
) -> SupervisorState | Rejected:
    """Go to rest at `pose` (J,) [rad] from the commanded state, as far as the way is clear.

    The home motion is made whole or not at all, and leads away from what the arm is too near to.
    A target in whose direction nothing is clear stops the arm.
    """
    before = state.plan
    plan = before and going_to(before, pose, source, now_ns, options)
    if before is None or plan is None:
        return Rejected("there is no motion to it within the limits")
    blocked = ""
    if options.obstacles is not None:
        splice_ns = before.splice_time(lead_time(now_ns, options))
        slower = slower_limits(plan, splice_ns, options.limits, options.obstacles)
        if slower is not None:
            gently = replace(options, limits=slower)
            plan = going_to(before, pose, source, now_ns, gently) or plan
        kept = keep_clear(plan, splice_ns, options.limits, options.obstacles, leaving=homing)
        if isinstance(kept, Rejected):
            if homing:
                return kept
            plan, blocked = stopped(before, now_ns, options), kept.reason
        elif kept.cut and homing:
            return Rejected(kept.cut, on_its_way=True, blocked=True)
        else:
            plan, blocked = kept.plan, kept.cut
    return replace(state, plan=plan, homing=homing, target=pose, blocked=blocked)


def _taken_over(
    state: SupervisorState, target: Target, now_ns: SteadyNs, options: SupervisorOptions
) -> SupervisorState:
    """Cut the policy: brake, and lead the arm from where the brake ends.

    That is no motion to a pose, which might not exist within the limits, and needs no look at
    what is in the way: it is the stop that any fault would make.
    """
    if state.plan is None:
        return state
    braking = stopped(state.plan, now_ns, options)
    marks = tuple((t, target.source if s == STOP else s) for t, s in braking.marks)
    rest = braking.timeline.positions[-1]
    lead = taken_by(target, rest, now_ns, options.limits, options.takeover)
    state = replace(state, plan=replace(braking, marks=marks), lead=lead, handed=None)
    return replace(state, target=rest, blocked="")


def _handed_back(state: SupervisorState, now_ns: SteadyNs) -> SupervisorState:
    """Let the policy plan anew: until its first chunk from now on, what a person began goes on."""
    source = "" if state.reference is None else state.reference.source
    return replace(state, reference=None, handed=Handback(source, now_ns))


def taken_up(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> SupervisorState | Rejected:
    """Begin to command the arm where it stands."""
    if inputs.measured is None:
        return Rejected("no joint_states have been received")
    position = armed_position(state, inputs.measured.position, options)
    return replace(
        state,
        plan=Plan.holding(options.limits.names, position, now_ns),
        sent=None,
        ticks=(),
        offset_ns=inputs.ros_offset_ns,
    )


def _forgiven(state: SupervisorState) -> SupervisorState:
    kept = {
        fault: text
        for fault, text in state.faults.items()
        if not cleared(fault, seen=False, mode_changed=True, reset=True)
    }
    watch = replace(state.watch, bad_chunks=0, tracking_since_ns=None)
    return replace(state, faults=kept, watch=watch)

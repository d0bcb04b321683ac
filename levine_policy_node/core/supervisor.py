# SPDX-License-Identifier: Apache-2.0
"""One tick of the supervisor: `step(state, now, inputs) -> (state, decision)`, and nothing else.

Each tick: take in what arrived, look for faults, answer the operator, let the active source move
the plan, see what has come to an end, and decide what is sent. The commanded motion is a plan
that always ends at rest; every window handed to the controller ends at rest too, so stopping to
call `step` stops the arm.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levine_policy_node.core.acts import follow_prepared, gone_to, permitted
from levine_policy_node.core.emission import (
    Emission,
    emission,
    emission_trip,
    fallback,
    proposal,
    window_due,
)
from levine_policy_node.core.endings import ending, ran_out, starvation
from levine_policy_node.core.faults import DEMAND, RESPONSES, Clears, Fault, Severity, cleared
from levine_policy_node.core.modes import (
    ACTIVE,
    COMMANDING,
    DEMANDS,
    ENERGISED,
    Event,
    Mode,
    next_mode,
    refusal,
)
from levine_policy_node.core.motions import Overrun, after_late_tick, after_overrun, stopped
from levine_policy_node.core.reference import Later, Prepared, Rejected, to_steady
from levine_policy_node.core.supervision import (
    BadChunk,
    Decision,
    Inputs,
    Occurrence,
    Reply,
    Request,
    SupervisorOptions,
    SupervisorState,
)
from levine_policy_node.core.takeover import led_on
from levine_policy_node.core.units import SteadyNs, seconds
from levine_policy_node.core.watchdogs import causes_seen, counting, watched

# Enough for the tracking band at the highest rate.
_TICKS_KEPT = 128
# Less than any controller resolves [rad].
_UNMOVED = 1e-9


def step(
    state: SupervisorState, now_ns: SteadyNs, inputs: Inputs, options: SupervisorOptions
) -> tuple[SupervisorState, Decision]:
    """Decide one tick.

    Args:
        state: What the last tick returned, or `SupervisorState()`.
        now_ns: Present time on the steady clock; later than in the last tick.
        inputs: What arrived since.
        options: Fixed for the life of the supervisor.

    Returns:
        The next state and what to send, say and reply.
    """
    tick = _Tick(state, now_ns, inputs, options)
    tick.notice_overrun()
    tick.take_chunks()
    tick.look_for_faults()
    replies = tuple(tick.answer(request) for request in inputs.requests)
    tick.follow_operator()
    tick.settle()
    return tick.finish(replies)


class _Tick:
    """The state of one tick while it is being decided; lives no longer than `step`."""

    def __init__(
        self,
        state: SupervisorState,
        now_ns: SteadyNs,
        inputs: Inputs,
        options: SupervisorOptions,
    ) -> None:
        self.before = state
        self.state = state
        self.now_ns = now_ns
        self.inputs = inputs
        self.options = options
        self.occurrences: list[Occurrence] = []
        self.overrun: Overrun | None = None
        self.blocked = ""
        self.unprepared = False

    # What arrived.

    def notice_overrun(self) -> None:
        """If this tick comes too late, the controller follows the brake it had been given."""
        self.overrun = after_overrun(self.state, self.now_ns, self.options)
        if self.overrun is None:
            delayed = after_late_tick(self.state, self.now_ns, self.options)
            if delayed is not None:
                self.unprepared = True
                self.state = replace(self.state, plan=delayed, ticks=())
            return
        # Whoever follows the chunk anew in a late tick makes the next one late, too.
        self.unprepared = self.overrun.gap_s <= self.options.overrun_s
        self.state = replace(self.state, plan=self.overrun.plan, ticks=())
        self._note("OVERRUN", Severity.NOTICE, f"{self.overrun.gap_s * 1e3:.0f} ms in one tick")

    def take_chunks(self) -> None:
        """Read the chunks, and follow the newest one where the policy is active."""
        held = self.state.mode.mode in ENERGISED
        offset_ns = self.state.offset_ns if held else self.inputs.ros_offset_ns
        prepared, handed = None, self.state.handed
        for chunk in self.inputs.chunks:
            if isinstance(chunk, BadChunk):
                self._watch(bad_chunks=self.state.watch.bad_chunks + 1)
                self._note("BAD_CHUNK", Severity.NOTICE, chunk.reason)
                continue
            self._watch(bad_chunks=0)
            prepared = chunk if isinstance(chunk, Prepared) else None
            if isinstance(chunk, Prepared) and chunk.before is self.state.plan:
                moved = chunk.reference
            else:
                plain = chunk.chunk if isinstance(chunk, Prepared) else chunk
                moved = to_steady(plain, offset_ns, self.now_ns)
            if isinstance(moved, Rejected):
                self._note("CHUNK_REFUSED", Severity.NOTICE, moved.reason)
            elif handed is None or not handed.kills(moved.source, int(moved.start_ns)):
                handed = None
                self.state = replace(self.state, reference=moved, handed=None)
        self.state = replace(
            self.state, watch=watched(self.state, self.now_ns, self.inputs, self.options)
        )
        arrived = self.state.reference is not self.before.reference
        if arrived and self.state.mode.mode is Mode.POLICY:
            self._follow(prepared)

    def _follow(self, prepared: Prepared | None) -> None:
        followed = follow_prepared(prepared, self.state, self.now_ns, self.options)
        if isinstance(followed, Later):
            self.unprepared = True
            return
        if isinstance(followed, Rejected):
            self._note("CHUNK_REFUSED", Severity.NOTICE, followed.reason)
            self.blocked = followed.reason if followed.blocked else ""
            return
        self.state, motion = followed
        for name, text in (("CHUNK_SLOWED", motion.slowed), ("CHUNK_CUT", motion.cut)):
            if text:
                self._note(name, Severity.NOTICE, text)

    # Faults.

    def look_for_faults(self) -> None:
        """Latch what is seen, forget what is cleared, and stop as the worst demands."""
        causes = causes_seen(self.state, self.now_ns, self.inputs, self.options)
        self._forget(causes)
        seen = counting(causes, self.state.mode.mode)
        before_ns = self.state.ticked_ns
        gap_s = 0.0 if before_ns is None else seconds(self.now_ns - before_ns)
        human = self.state.mode.mode is Mode.HUMAN
        # Whoever saw nothing for so long must not go on, even if the arm stood meanwhile.
        if gap_s > self.options.overrun_s or (self.overrun is not None and human):
            evidence = f"{gap_s * 1e3:.0f} ms between two ticks"
            seen.update(counting({Fault.OVERRUN: evidence}, self.state.mode.mode))
        if self.blocked:
            seen.update(counting({Fault.BLOCKED: self.blocked}, self.state.mode.mode))
        self._latch(seen)

    def _forget(self, causes: dict[Fault, str]) -> None:
        kept = {
            fault: text
            for fault, text in self.state.faults.items()
            if not cleared(fault, seen=fault in causes, mode_changed=False, reset=False)
        }
        self.state = replace(self.state, faults=kept)

    def _latch(self, seen: dict[Fault, str]) -> None:
        if not seen:
            return
        for fault, text in seen.items():
            if fault not in self.state.faults:
                self._note(fault.name, RESPONSES[fault].severity, f"{fault.value}: {text}")
        self.state = replace(self.state, faults={**self.state.faults, **seen})
        worst = max(seen, key=lambda fault: RESPONSES[fault].severity)
        self._apply(DEMAND[RESPONSES[worst].severity], seen[worst])

    # The operator.

    def answer(self, request: Request) -> Reply:
        """Carry out one act, or say why not."""
        act = request.act
        wanted = next_mode(self.state.mode, act)
        if wanted is None:
            return Reply(request.number, accepted=False, message=refusal(self.state.mode, act))
        ready = permitted(act, wanted.mode, self.state, self.now_ns, self.inputs, self.options)
        if isinstance(ready, Rejected):
            text = f"{act.value} refused: {ready.reason}"
            return Reply(request.number, accepted=False, message=text)
        self.state = ready
        self._apply(act, f"operator: {act.value}")
        return Reply(request.number, accepted=True, message=str(self.state.mode))

    # Motion.

    def follow_operator(self) -> None:
        """In HUMAN, go where the device leads; the home motion is left to finish."""
        options, target, lead = self.options, self.inputs.target, self.state.lead
        if target is None or lead is None:
            return
        lead = led_on(lead, target, self.now_ns, options.limits, options.takeover)
        self.state = replace(self.state, lead=lead)
        before = self.state.target
        same = before is not None and np.allclose(lead.goal, before, rtol=0.0, atol=_UNMOVED)
        if not same and window_due(self.state, self.now_ns, options):
            moved = gone_to(self.state, lead.goal, lead.source, self.now_ns, options)
            self.state = self.state if isinstance(moved, Rejected) else moved

    def settle(self) -> None:
        """Notice what has come to an end by itself, and what is in the operator's way."""
        if self.state.blocked and not self.before.blocked:
            self._note("TARGET_CUT", Severity.NOTICE, self.state.blocked)
        if chunk := ran_out(self.state, self.now_ns):
            self._note("STARVED", Severity.NOTICE, starvation(chunk, self.now_ns))
        over = ending(self.state, self.before.mode, self.now_ns, self.inputs, self.options)
        if over is not None:
            self._apply(*over)

    def _apply(self, event: Event, cause: str) -> None:
        """Change the mode as the table says, and do what entering it means."""
        old = self.state.mode
        new = next_mode(old, event)
        if new is None or new == old:
            return
        faults = {
            fault: text
            for fault, text in self.state.faults.items()
            if new.mode is old.mode
            or event in DEMANDS
            or RESPONSES[fault].clears is not Clears.ON_MODE_CHANGE
        }
        since_ns = self.state.since_ns if new.mode is old.mode else self.now_ns
        self.state = replace(self.state, mode=new, since_ns=since_ns, faults=faults)
        self._watch(starving_ns=None, tracking_since_ns=None)
        self._note("MODE", Severity.NOTICE, f"{old} -> {new}: {cause}")
        plan = self.state.plan
        if old.mode in ACTIVE and new.mode not in ACTIVE and plan is not None:
            self.state = replace(self.state, plan=stopped(plan, self.now_ns, self.options))
        if old.mode is Mode.DISARMED and event is Event.STOP:
            # Nothing was held, and the arm may be anywhere by now, so there is nothing to hold.
            self.state = replace(self.state, plan=None)
        if new.mode is not Mode.HUMAN:
            self.state = replace(self.state, lead=None)
        if new.mode not in ACTIVE:
            self.state = replace(self.state, homing=False, handed=None, target=None, blocked="")

    # What is sent.

    def finish(self, replies: tuple[Reply, ...]) -> tuple[SupervisorState, Decision]:
        """Choose what is sent, pass the gate, and close the tick."""
        sending = emission(self.state, self.before, self.now_ns, self.options)
        trip = emission_trip(sending, self.state, self.now_ns, self.options)
        if trip:
            sending = Emission()
            plan = fallback(self.before, self.now_ns, self.options)
            self.state = replace(self.state, plan=plan, sent=self.before.sent)
            self._latch({Fault.GATE_TRIPPED: trip})
        self._remember(sending)
        state, command = self.state, sending.command
        asked, asked_by = None, ""
        if command is not None:
            asked, asked_by = proposal(state, command, self.now_ns, self.options)
        commands = state.plan is not None and command is not None
        return state, Decision(
            mode=state.mode,
            command=command,
            source=state.plan.source(self.now_ns) if commands and state.plan else "",
            proposal=asked,
            proposal_source=asked_by,
            window=sending.window,
            rest=sending.rest,
            offset_ns=state.offset_ns,
            occurrences=tuple(self.occurrences),
            replies=replies,
            faults=state.faults,
            unprepared=self.unprepared and state.mode.mode is Mode.POLICY,
        )

    def _remember(self, sending: Emission) -> None:
        state = replace(self.state, ticked_ns=self.now_ns)
        if sending.window is not None:
            state = replace(
                state,
                sent=sending.window,
                sent_ns=self.now_ns,
                sent_until_ns=sending.window_until_ns,
            )
        if sending.command is not None:
            tick = (int(self.now_ns), sending.command.position)
            state = replace(state, ticks=(*state.ticks[-_TICKS_KEPT:], tick))
        elif state.mode.mode not in COMMANDING:
            state = replace(state, ticks=(), sent=None)
        self.state = state

    def _note(self, name: str, severity: Severity, text: str) -> None:
        self.occurrences.append(Occurrence(name, severity, text))

    def _watch(self, **changes: object) -> None:
        self.state = replace(self.state, watch=replace(self.state.watch, **changes))  # type: ignore[arg-type]

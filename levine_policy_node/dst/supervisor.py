# SPDX-License-Identifier: Apache-2.0
"""The process `safety_supervisor`: its inbox, and `core.supervisor.step` once per tick.

What `ros/supervisor_inputs.py` and `nodes/safety_supervisor.py` do with ROS is done here without;
the decisions are the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from levine_policy_node.core.acts import prepare_chunk
from levine_policy_node.core.modes import Mode, ModeState
from levine_policy_node.core.reference import to_ros
from levine_policy_node.core.supervision import Chunk, Decision, SupervisorOptions, SupervisorState
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.inbox import Inbox, subscribe
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.trace import Trace
from levine_policy_node.sim.controller_trajectory import rest_command

_BEAT_S = 0.05


class SupervisorProcess(Process):
    """Takes what arrived, decides, sends.

    Attributes:
        state: Of the last tick.
        publishers: Publishers on the controller's topic, as the graph tells in the tick.
        watch: Called after each tick with what was decided.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        bus: Bus,
        options: SupervisorOptions,
        clock: RosClock,
    ) -> None:
        super().__init__("supervisor", scheduler, trace)
        self.options = options
        self.publishers = 1
        self.state = SupervisorState()
        self.watch: Callable[[Decision], object] = lambda _: None
        self._bus, self._clock = bus, clock
        self._said: Mode | None = None
        self._chunk: Timeline[StampNs] | None = None
        self._shown: ModeState | None = None
        self._inbox = Inbox(options.limits.names, clock, self._now)
        subscribe(bus, self, self._hear)

    def boot(self) -> None:
        """Begin in INIT and know nothing."""
        self.state = SupervisorState()
        self._said = self._shown = self._chunk = None
        self._inbox = Inbox(self.options.limits.names, self._clock, self._now)
        self._ticks = 0
        self.every(self.options.tick_s, self._tick, first_s=self.options.tick_s)

    @property
    def mode(self) -> Mode:
        """Present mode."""
        return self.state.mode.mode

    def _now(self) -> SteadyNs:
        return self.scheduler.now_ns

    def _tick(self) -> None:
        now_ns, taken = self._now(), self._inbox.take(self.publishers)
        self.state, decision = step(self.state, now_ns, taken, self.options)
        self._send(decision)
        self._say(decision)
        if decision.unprepared and self._chunk is not None:
            self._inbox.hand_in(self._read(self._chunk))
        self.watch(decision)
        self._ticks += 1
        if self._ticks % round(_BEAT_S / self.options.tick_s) == 0:
            self._bus.publish(self, "supervisor/heartbeat", self._ticks)

    def _send(self, decision: Decision) -> None:
        now_ns = self._now()
        if decision.command is not None:
            self.trace.add(now_ns, "command", decision.mode.mode.value, decision.command.position)
        if self.options.sends_windows:
            if decision.window is not None:
                window = to_ros(decision.window, decision.offset_ns, decision.source)
                self.trace.add(now_ns, "window", str(decision.mode), window)
                self._bus.publish(self, "controller/command", window)
            if decision.rest is not None:
                told = decision.rest
                self.trace.add(now_ns, "rest", told.duration_s, told.position)
                names = self.options.limits.names
                self._bus.publish(self, "controller/command", rest_command(names, told))
        elif decision.command is not None:
            self._bus.publish(self, "controller/command", decision.command.position)

    def _say(self, decision: Decision) -> None:
        now_ns = self._now()
        for occurrence in decision.occurrences:
            kind = "note" if occurrence.severity == 0 else "fault"
            self.trace.add(now_ns, kind, occurrence.name, occurrence.text)
        for reply in decision.replies:
            self.trace.add(now_ns, "reply", reply.accepted, reply.message)
        mode = decision.mode.mode
        if mode is not self._said:
            self._said = mode
            self._bus.publish(self, "supervisor/mode", mode.value)
        if decision.mode != self._shown:
            self._shown = decision.mode
            self.trace.add(now_ns, "mode", str(decision.mode))

    def _hear(self, topic: str, message: Any) -> None:
        reason = self._inbox.hear(topic, message, self._read)
        if reason:
            self.trace.add(self._now(), "dropped", reason)

    def _read(self, chunk: Timeline[StampNs]) -> Chunk:
        """In the executor's thread, as the node does."""
        self._chunk = chunk
        return prepare_chunk(chunk, self.state, self._now(), self.options)

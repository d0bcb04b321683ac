# SPDX-License-Identifier: Apache-2.0
"""The process `safety_supervisor`: its inbox, and `core.supervisor.step` once per tick.

What `ros/supervisor_inputs.py` and `nodes/safety_supervisor.py` do with ROS is done here without;
the decisions are the same code.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from levine_policy_node.core.acts import prepare_chunk
from levine_policy_node.core.message_values import MessageError, by_name, usable_timeline
from levine_policy_node.core.modes import Event, Mode, ModeState
from levine_policy_node.core.supervision import (
    BadChunk,
    Chunk,
    Decision,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorOptions,
    SupervisorState,
    Target,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import read_trajectory
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.dst.arm import JointStates
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.trace import Trace

_QUEUED = 64
_GRAPH_PERIOD_S = 0.1


class SupervisorProcess(Process):
    """Takes what arrived, decides, sends.

    Attributes:
        state: Of the last tick.
        publishers: Publishers on the controller's topic, as the graph tells after a while.
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
        self._bus, self._clock = bus, clock
        self._said: Mode | None = None
        self._shown: ModeState | None = None
        bus.subscribe("joint_states", self, self._on_joint_states)
        bus.subscribe("policy/action_chunk", self, self._on_chunk)
        bus.subscribe("policy/heartbeat", self, self._on_heartbeat)
        bus.subscribe("operator/target", self, self._on_target)
        bus.subscribe("operator/act", self, self._on_act)
        bus.subscribe("estop", self, self._on_estop)

    def boot(self) -> None:
        """Begin in INIT and know nothing."""
        self.state = SupervisorState()
        self._said = self._shown = None
        self._measured: Measured | None = None
        self._heartbeat: Heartbeat | None = None
        self._target: Target | None = None
        self._chunks: deque[Chunk] = deque(maxlen=_QUEUED)
        self._requests: list[Request] = []
        self._estops: list[bool] = []
        self._estop: tuple[bool, SteadyNs | None] = (False, None)
        self._counted = self.publishers
        self.every(self.options.tick_s, self._tick, first_s=self.options.tick_s)
        self.every(_GRAPH_PERIOD_S, self._look_at_graph, first_s=0.037)

    @property
    def mode(self) -> Mode:
        """Present mode."""
        return self.state.mode.mode

    def _now(self) -> SteadyNs:
        return self.scheduler.now_ns

    def _tick(self) -> None:
        now_ns, taken = self._now(), self._take()
        self.state, decision = step(self.state, now_ns, taken, self.options)
        self._send(decision)
        self._say(decision)

    def _take(self) -> Inputs:
        heard, self._estops = self._estops, []
        pressed = self._estop[0] or any(heard)
        if heard:
            self._estop = (heard[-1], self._estop[1])
        requests, self._requests = self._requests, []
        if any(request.act is Event.ARM for request in requests):
            self._look_at_graph()
        chunks, self._chunks = tuple(self._chunks), deque(maxlen=_QUEUED)
        return Inputs(
            ros_offset_ns=self._clock.offset_ns,
            measured=self._measured,
            heartbeat=self._heartbeat,
            target=self._target,
            chunks=chunks,
            estop=pressed,
            estop_received_ns=self._estop[1],
            publishers=self._counted,
            requests=tuple(requests),
        )

    def _send(self, decision: Decision) -> None:
        now_ns = self._now()
        if decision.command is not None:
            self.trace.add(now_ns, "command", decision.mode.mode.value, decision.command.position)
        if self.options.sends_windows:
            if decision.window is not None:
                window = _stamped(decision.window, decision.offset_ns, decision.source)
                self.trace.add(now_ns, "window", str(decision.mode), window)
                self._bus.publish(self, "controller/command", window)
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

    # What arrives; the same conversions as in ros/supervisor_inputs.py.

    def _on_joint_states(self, message: JointStates) -> None:
        names = self.options.limits.names
        try:
            position = by_name(names, message.names, message.positions.tolist())
            velocity = by_name(names, message.names, message.velocities.tolist())
        except MessageError as error:
            self.trace.add(self._now(), "dropped", f"joint_states: {error}")
            return
        if np.all(np.isfinite(position)) and np.all(np.isfinite(velocity)):
            self._measured = Measured(position, velocity, self._now())

    def _on_chunk(self, data: bytes) -> None:
        try:
            found = read_trajectory(data)
            if found is None:
                raise MessageError("not a trajectory with positions, velocities and accelerations")
            chunk = usable_timeline(found, self.options.limits.names)
        except MessageError as error:
            self._chunks.append(BadChunk(str(error)))
            return
        self._chunks.append(prepare_chunk(chunk, self.state, self._now(), self.options))

    def _on_heartbeat(self, count: int) -> None:
        self._heartbeat = Heartbeat(count, self._now())

    def _on_target(self, message: JointStates) -> None:
        try:
            names = self.options.limits.names
            position = by_name(names, message.names, message.positions.tolist())
        except MessageError as error:
            self.trace.add(self._now(), "dropped", f"operator/target: {error}")
            return
        if np.all(np.isfinite(position)):
            self._target = Target(position, "operator:dst", self._now())

    def _on_act(self, act: Event) -> None:
        self._requests.append(Request(act, len(self._requests)))

    def _on_estop(self, pressed: bool) -> None:  # noqa: FBT001
        self._estops.append(pressed)
        self._estop = (self._estop[0], self._now())

    def _look_at_graph(self) -> None:
        self._counted = self.publishers


def _stamped(window: Timeline[SteadyNs], offset_ns: int, source: str) -> Timeline[StampNs]:
    return Timeline(
        window.joint_names,
        StampNs(int(window.start_ns) + offset_ns),
        window.times_s,
        window.positions,
        window.velocities,
        window.accelerations,
        source,
    )

# SPDX-License-Identifier: Apache-2.0
"""What the supervisor hears, as immutable values for its loop.

Callbacks run in the executor's thread and only convert and store; the loop takes what is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String, UInt64
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.clock_skew import ClockSkew
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.latest import Latest
from levine_policy_node.core.message_values import as_named
from levine_policy_node.core.supervision import (
    BadChunk,
    Chunk,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    Target,
)
from levine_policy_node.core.surroundings import Surroundings
from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs, seconds
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg, steady_now
from levine_policy_node.ros.controller_topics import ControllerTopics
from levine_policy_node.ros.controllers.command_topic import CommandTopic
from levine_policy_node.ros.graph_check import graph_problem
from levine_policy_node.ros.message_guard import Info, MessageGuard
from levine_policy_node.ros.messages import MessageError, by_name
from levine_policy_node.ros.switch import Switch

_READINGS = 3
_UNDISTURBED_NS = 50_000
# A flood of messages pushes out the oldest and never grows the memory.
_QUEUED = 64
# Messages per second that are expected at most; three times as many are a flood.
_CHUNKS_HZ = 100.0
_HEARTBEATS_HZ = 200.0
_PROBLEMS_HZ = 50.0
_TARGETS_HZ = 500.0
_ESTOPS_HZ = 200.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the inputs should be like.

    Attributes:
        controller: The controller's name.
        joint_state_rate_hz: Joint states per second that are expected at most [Hz].
        clock_skew_s: How far the clocks of senders may be from this one [s].
    """

    controller: str
    joint_state_rate_hz: float
    clock_skew_s: float


class SupervisorInputs:
    """Subscriptions of the supervisor and what came from them.

    Attributes:
        chunk_sent_ns: When the newest chunk was published, on the system's clock.
        guard: Counts what could not be used.
    """

    def __init__(
        self,
        node: Node,
        joint_names: Sequence[str],
        output: CommandTopic,
        read: Callable[[bytes], Chunk | EffortTimeline[StampNs]],
        expected: Expected,
    ) -> None:
        """Subscribe.

        Args:
            node: The supervisor's node.
            joint_names: Order of every array.
            output: The controller's topic; the graph is asked who publishes and who hears there.
            read: Called with each chunk in the executor's thread, to spare the loop work; raises
                MessageError for one that is not usable.
            expected: What the messages should be like.
        """
        self._node = node
        self._names = tuple(joint_names)
        self._measured: Latest[Measured] = Latest()
        self._heartbeat: Latest[Heartbeat] = Latest()
        self._target: Latest[Target] = Latest()
        self._read = read
        self.chunk_sent_ns = StampNs(0)
        self._chunks: deque[Chunk | EffortTimeline[StampNs]] = deque(maxlen=_QUEUED)
        self._estops: deque[tuple[bool, SteadyNs]] = deque(maxlen=_QUEUED)
        self._estop: tuple[bool, SteadyNs | None] = (False, None)
        self._enables: deque[tuple[bool, SteadyNs]] = deque(maxlen=_QUEUED)
        self._enable: tuple[bool | None, SteadyNs | None] = (None, None)
        self._graph_problem = ""
        self._output = output
        self._stamped: tuple[StampNs, FloatArray] | None = None
        self._problem = ""
        self.guard = MessageGuard(node)
        self._controller = ControllerTopics(node, self.guard, expected.controller, joint_names)
        limit_s = expected.clock_skew_s
        self._arm_clock = ClockSkew("joint_states", limit_s)
        self._policy_clock = ClockSkew("policy/heartbeat", limit_s)
        self._subscribe(node, expected.joint_state_rate_hz)

    def _subscribe(self, node: Node, joint_state_rate_hz: float) -> None:
        guarded = self.guard.guarded
        on_state = guarded("joint_states", joint_state_rate_hz, self._on_joint_state)
        node.create_subscription(JointState, "joint_states", on_state, qos.JOINT_STATE_IN)
        # As bytes, which rclpy's types do not know of.
        on_chunk = guarded("policy/action_chunk", _CHUNKS_HZ, self._on_chunk)
        node.create_subscription(
            JointTrajectory, "policy/action_chunk", on_chunk, qos.COMMAND, raw=True
        )
        on_beat = guarded("policy/heartbeat", _HEARTBEATS_HZ, self._on_heartbeat)
        node.create_subscription(UInt64, "policy/heartbeat", on_beat, qos.HEARTBEAT)
        on_problem = guarded("policy/problem", _PROBLEMS_HZ, self._on_problem, thinned=False)
        node.create_subscription(String, "policy/problem", on_problem, qos.PROBLEM)
        on_target = guarded("operator/target", _TARGETS_HZ, self._on_target)
        node.create_subscription(JointState, "operator/target", on_target, qos.COMMAND)
        on_estop = guarded("estop", _ESTOPS_HZ, self._on_estop, thinned=False)
        on_enable = guarded("enable", _ESTOPS_HZ, self._on_enable, thinned=False)
        self._switches = (Switch(node, "estop", on_estop), Switch(node, "enable", on_enable))

    def take(self, requests: tuple[Request, ...]) -> Inputs:
        """Everything up to now; called by the loop, once per tick."""
        heard = _drain(self._estops)
        pressed = self._estop[0] or any(value for value, _ in heard)
        if heard:
            self._estop = heard[-1]
        allowed = _drain(self._enables)
        # One that said no since the last tick has, whatever it says now.
        refused = any(not value for value, _ in allowed)
        if allowed:
            self._enable = allowed[-1]
        arming = any(request.act.name == "ARM" for request in requests)
        chunks, pushes = self._drain_chunks()
        return Inputs(
            ros_offset_ns=self._ros_offset_ns(),
            measured=self._measured.get(),
            heartbeat=self._heartbeat.get(),
            target=self._target.get(),
            chunks=chunks,
            pushes=pushes,
            estop=pressed,
            estop_received_ns=self._estop[1],
            # Some microseconds; a timer that is as quick would keep messages waiting.
            publishers=self._output.publishers(),
            requests=requests,
            around=Surroundings(
                policy_problem=self._problem,
                references=self._controller.take(),
                reference_ns=self._controller.heard_ns,
                inactive=self._controller.inactive,
                listeners=self._output.listeners(),
                flood=self.guard.flood(),
                enable=False if refused else self._enable[0],
                enable_ns=self._enable[1],
                clock_skew=self._clocks_unfit() if arming else "",
                graph=self._graph_problem if arming else "",
            ),
        )

    def renew(self, taken: Inputs) -> Inputs | None:
        """What was taken with the chunks that have come since; None if none has."""
        if not self._chunks:
            return None
        chunks, pushes = self._drain_chunks()
        return replace(taken, chunks=taken.chunks + chunks, pushes=taken.pushes + pushes)

    def _drain_chunks(self) -> tuple[tuple[Chunk, ...], tuple[EffortTimeline[StampNs], ...]]:
        chunks = _drain(self._chunks)
        return (
            tuple(c for c in chunks if not isinstance(c, EffortTimeline)),
            tuple(c for c in chunks if isinstance(c, EffortTimeline)),
        )

    def _clocks_unfit(self) -> str:
        return self.clock_skew() or self._arm_clock.unknown()

    def clock_skew(self) -> str:
        """Whose clock is too far from this one, or ""."""
        return self._arm_clock.problem() or self._policy_clock.problem()

    def _ros_offset_ns(self) -> int:
        """ROS clock minus steady clock, from the reading that took the shortest time."""
        best: tuple[int, int] | None = None
        for _ in range(_READINGS):
            before_ns = steady_now()
            stamp_ns = ros_now(self._node)
            took_ns = steady_now() - before_ns
            if best is None or took_ns < best[0]:
                best = (took_ns, stamp_ns - before_ns - took_ns // 2)
            if took_ns < _UNDISTURBED_NS:
                break
        return best[1] if best is not None else 0

    def ask_switches(self) -> None:
        """Have switches that were thrown before this process was there heard, now and then."""
        for switch in self._switches:
            switch.ask()

    def before_arming(self) -> None:
        """Look at the graph as it is now; in the executor's thread, it takes a few ms."""
        self.ask_switches()
        states = self._node.resolve_topic_name("joint_states")
        self._graph_problem = graph_problem(self._node, self._output, states)

    def _on_joint_state(self, message: JointState, info: Info) -> None:
        del info
        position = by_name(self._names, list(message.name), message.position)
        velocity = self._velocity(message, position)
        stamp_ns = stamp_from_msg(message.header.stamp)
        if stamp_ns > 0:
            self._arm_clock.add(ros_now(self._node) - stamp_ns)
        # A value that is not finite is no measurement: it ages as if nothing had come.
        if np.all(np.isfinite(position)) and np.all(np.isfinite(velocity)):
            effort = self._effort(message)
            self._measured.put(Measured(position, velocity, steady_now(), effort))

    def hand_in(self, chunk: Chunk) -> None:
        """A chunk that was prepared once more, for the next tick."""
        self._chunks.append(chunk)

    def _effort(self, message: JointState) -> FloatArray | None:
        """The given efforts; None where the driver gives none."""
        if len(message.effort) == 0:
            return None
        return by_name(self._names, list(message.name), message.effort)

    def _velocity(self, message: JointState, position: FloatArray) -> FloatArray:
        """The given velocities, or differences where the driver gives none."""
        if len(message.velocity) > 0:
            return by_name(self._names, list(message.name), message.velocity)
        stamp_ns = stamp_from_msg(message.header.stamp)
        before, self._stamped = self._stamped, (stamp_ns, position)
        if before is None or stamp_ns <= before[0]:
            return np.zeros_like(position)
        return (position - before[1]) / seconds(stamp_ns - before[0])

    def _on_chunk(self, data: bytes, info: Info) -> None:
        self.chunk_sent_ns = StampNs(info["source_timestamp"])
        try:
            self._chunks.append(self._read(data))
        except MessageError as error:
            self._chunks.append(BadChunk(str(error)))

    def _on_heartbeat(self, message: UInt64, info: Info) -> None:
        # Stamped by the middleware of the policy's host, with the clock that stamps its chunks.
        received_ns, sent_ns = info["received_timestamp"], info["source_timestamp"]
        if received_ns and sent_ns:
            self._policy_clock.add(received_ns - sent_ns)
        self._heartbeat.put(Heartbeat(int(message.data), steady_now()))

    def _on_problem(self, message: String, info: Info) -> None:
        del info
        self._problem = message.data

    def _on_target(self, message: JointState, info: Info) -> None:
        del info
        # One that is not usable is no target: the newest one ages as if nothing had come.
        position = as_named(self._names, list(message.name), message.position)
        source = message.header.frame_id or "operator:unnamed"
        self._target.put(Target(position, source, steady_now()))

    def _on_estop(self, message: Bool, info: Info) -> None:
        del info
        self._estops.append((bool(message.data), steady_now()))

    def _on_enable(self, message: Bool, info: Info) -> None:
        del info
        self._enables.append((bool(message.data), steady_now()))


def _drain(values: deque[T]) -> list[T]:
    return [values.popleft() for _ in range(len(values))]

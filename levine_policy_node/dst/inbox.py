# SPDX-License-Identifier: Apache-2.0
"""What the supervisor hears; what `ros/supervisor_inputs.py` does with ROS, without it.

The judgements (names, values, floods, clocks) are the same core functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from levine_policy_node.core.clock_skew import ClockSkew
from levine_policy_node.core.message_rate import MessageRate
from levine_policy_node.core.message_values import (
    MessageError,
    as_named,
    by_name,
    check_size,
    usable_timeline,
)
from levine_policy_node.core.modes import Event
from levine_policy_node.core.supervision import (
    BadChunk,
    Chunk,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    Target,
)
from levine_policy_node.core.surroundings import Reference, Surroundings
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import read_trajectory
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.dst.arm import JointStates
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock

T = TypeVar("T")
Read = Callable[[Timeline[StampNs]], Chunk]

_QUEUED = 64
_SKEW_LIMIT_S = 0.05
# Agreed rates [Hz] as in `ros/supervisor_inputs.py` and config/safety_supervisor.param.yaml.
_RATES_HZ = {
    "joint_states": 500.0,
    "policy/action_chunk": 100.0,
    "policy/heartbeat": 200.0,
    "policy/problem": 50.0,
    "operator/target": 500.0,
    "estop": 200.0,
    "enable": 200.0,
    "controller/reference": 1000.0,
    "controller/activity": 20.0,
}
_NEVER_THINNED = {"enable", "estop", "policy/problem"}


class Inbox:
    """The newest of every topic, for the next tick."""

    def __init__(
        self, joint_names: tuple[str, ...], clock: RosClock, steady: Callable[[], SteadyNs]
    ) -> None:
        self._names, self._clock, self._steady = joint_names, clock, steady
        self._measured: Measured | None = None
        self._heartbeat: Heartbeat | None = None
        self._target: Target | None = None
        self._chunks: deque[Chunk] = deque(maxlen=_QUEUED)
        self._references: deque[Reference] = deque(maxlen=_QUEUED)
        self._referred_ns: SteadyNs | None = None
        self._requests: list[Request] = []
        self._estops: list[bool] = []
        self._estop: tuple[bool, SteadyNs | None] = (False, None)
        self._enables: list[bool] = []
        self._enable: tuple[bool | None, SteadyNs | None] = (None, None)
        self._problem = self._inactive = ""
        self._rates = {topic: MessageRate(topic, hz) for topic, hz in _RATES_HZ.items()}
        self._arm_clock = ClockSkew("joint_states", _SKEW_LIMIT_S)
        self._policy_clock = ClockSkew("policy/heartbeat", _SKEW_LIMIT_S)

    def take(self, publishers: int) -> Inputs:
        """Everything up to now, and how many publish on the controller's topic."""
        heard, self._estops = self._estops, []
        pressed = self._estop[0] or any(heard)
        if heard:
            self._estop = (heard[-1], self._estop[1])
        allowed, self._enables = self._enables, []
        if allowed:
            self._enable = (allowed[-1], self._enable[1])
        requests, self._requests = self._requests, []
        arming = any(request.act is Event.ARM for request in requests)
        return Inputs(
            ros_offset_ns=self._clock.offset_ns,
            measured=self._measured,
            heartbeat=self._heartbeat,
            target=self._target,
            chunks=tuple(_drained(self._chunks)),
            estop=pressed,
            estop_received_ns=self._estop[1],
            publishers=publishers,
            requests=tuple(requests),
            around=Surroundings(
                policy_problem=self._problem,
                references=tuple(_drained(self._references)),
                reference_ns=self._referred_ns,
                inactive=self._inactive,
                flood=self._flood(),
                # One that said no since the last tick has, whatever it says now.
                enable=False if not all(allowed) else self._enable[0],
                enable_ns=self._enable[1],
                clock_skew=self._skew() if arming else "",
            ),
        )

    def hand_in(self, chunk: Chunk) -> None:
        """A chunk that was prepared once more, for the next tick."""
        self._chunks.append(chunk)

    def hear(self, topic: str, message: Any, read: Read) -> str:
        """Take a message; return why it is of no use, or "".

        Args:
            topic: Where it came.
            message: What is published there.
            read: Prepares a chunk.
        """
        if topic == "operator/act":
            self._requests.append(Request(message, len(self._requests)))
            return ""
        within = self._rates[topic].add(1, self._steady())
        if not within and topic not in _NEVER_THINNED:
            return ""
        try:
            self._convert(topic, message, read)
        except MessageError as error:
            return f"{topic}: {error}"
        return ""

    def _convert(self, topic: str, message: Any, read: Read) -> None:
        now_ns = self._steady()
        if topic == "joint_states":
            self._on_joint_states(message)
        elif topic == "policy/action_chunk":
            self._on_chunk(message, read)
        elif topic == "policy/heartbeat":
            count, sent_ns = message
            self._policy_clock.add(int(self._clock.now()) - int(sent_ns))
            self._heartbeat = Heartbeat(count, now_ns)
        elif topic == "operator/target":
            position = as_named(self._names, message.names, message.positions.tolist())
            self._target = Target(position, message.source or "operator:dst", now_ns)
        elif topic == "controller/reference":
            position = by_name(self._names, message.names, message.positions.tolist())
            stamp_ns = SteadyNs(int(message.stamp_ns) - self._clock.offset_ns)
            self._referred_ns = now_ns
            self._references.append(Reference(position, stamp_ns, now_ns))
        else:
            self._on_state(topic, message)

    def _on_state(self, topic: str, message: Any) -> None:
        if topic == "estop":
            self._estops.append(message)
            self._estop = (self._estop[0], self._steady())
        elif topic == "enable":
            self._enables.append(message)
            self._enable = (self._enable[0], self._steady())
        elif topic == "policy/problem":
            self._problem = message
        elif topic == "controller/activity":
            self._inactive = message

    def _on_joint_states(self, message: JointStates) -> None:
        position = by_name(self._names, message.names, message.positions.tolist())
        velocity = by_name(self._names, message.names, message.velocities.tolist())
        self._arm_clock.add(int(self._clock.now()) - int(message.stamp_ns))
        if np.all(np.isfinite(position)) and np.all(np.isfinite(velocity)):
            self._measured = Measured(position, velocity, self._steady())

    def _on_chunk(self, data: bytes, read: Read) -> None:
        try:
            check_size(data)
            found = read_trajectory(data)
            if found is None:
                raise MessageError("not a trajectory with positions, velocities and accelerations")
            self._chunks.append(read(usable_timeline(found, self._names)))
        except MessageError as error:
            self._chunks.append(BadChunk(str(error)))
            raise

    def _flood(self) -> str:
        now_ns = self._steady()
        return next((text for r in self._rates.values() if (text := r.flood(now_ns))), "")

    def _skew(self) -> str:
        return (
            self._arm_clock.problem() or self._policy_clock.problem() or self._arm_clock.unknown()
        )


def _drained(values: deque[T]) -> list[T]:
    return [values.popleft() for _ in range(len(values))]


def subscribe(bus: Bus, process: Process, hear: Callable[[str, Any], None]) -> None:
    """Let a process hear all that a supervisor hears."""
    for topic in (*_RATES_HZ, "operator/act"):
        bus.subscribe(topic, process, lambda message, topic=topic: hear(topic, message))

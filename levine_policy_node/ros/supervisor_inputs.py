# SPDX-License-Identifier: Apache-2.0
"""What the supervisor hears, as immutable values for its loop.

Callbacks run in the executor's thread and only convert and store; the loop takes what is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, UInt64
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.latest import Latest
from levine_policy_node.core.supervision import (
    BadChunk,
    Chunk,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    Target,
)
from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs, seconds
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg, steady_now
from levine_policy_node.ros.messages import MessageError, by_name

_GRAPH_PERIOD_S = 0.1
_READINGS = 3
_UNDISTURBED_NS = 50_000
# A flood of messages pushes out the oldest and never grows the memory.
_QUEUED = 64

T = TypeVar("T")


class SupervisorInputs:
    """Subscriptions of the supervisor and what came from them.

    Attributes:
        chunk_sent_ns: When the newest chunk was published, on the system's clock.
    """

    def __init__(
        self,
        node: Node,
        joint_names: Sequence[str],
        count_publishers: Callable[[], int],
        read: Callable[[bytes], Chunk | EffortTimeline[StampNs]],
    ) -> None:
        """Subscribe.

        Args:
            node: The supervisor's node.
            joint_names: Order of every array.
            count_publishers: Asks the graph who publishes on the controller's topic.
            read: Called with each chunk in the executor's thread, to spare the loop work; raises
                MessageError for one that is not usable.
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
        self._publishers: Latest[int] = Latest()
        self._count_publishers = count_publishers
        self._stamped: tuple[StampNs, FloatArray] | None = None
        node.create_subscription(
            JointState, "joint_states", self._on_joint_state, qos.JOINT_STATE_IN
        )
        # As bytes, which rclpy's types do not know of.
        on_chunk: Any = self._on_chunk
        node.create_subscription(
            JointTrajectory, "policy/action_chunk", on_chunk, qos.COMMAND, raw=True
        )
        node.create_subscription(UInt64, "policy/heartbeat", self._on_heartbeat, qos.HEARTBEAT)
        node.create_subscription(JointState, "operator/target", self._on_target, qos.COMMAND)
        node.create_subscription(Bool, "estop", self._on_estop, qos.ESTOP)
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_GRAPH_PERIOD_S, self._look_at_graph, clock=clock)
        self._look_at_graph()

    def take(self, requests: tuple[Request, ...]) -> Inputs:
        """Everything up to now; called by the loop, once per tick."""
        heard = _drain(self._estops)
        pressed = self._estop[0] or any(value for value, _ in heard)
        if heard:
            self._estop = heard[-1]
        if any(request.act.name == "ARM" for request in requests):
            # Graph events may be a period old; arming asks again.
            self._look_at_graph()
        chunks = _drain(self._chunks)
        return Inputs(
            ros_offset_ns=self._ros_offset_ns(),
            measured=self._measured.get(),
            heartbeat=self._heartbeat.get(),
            target=self._target.get(),
            chunks=tuple(c for c in chunks if not isinstance(c, EffortTimeline)),
            pushes=tuple(c for c in chunks if isinstance(c, EffortTimeline)),
            estop=pressed,
            estop_received_ns=self._estop[1],
            publishers=self._publishers.get() or 0,
            requests=requests,
        )

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

    def _look_at_graph(self) -> None:
        self._publishers.put(self._count_publishers())

    def _on_joint_state(self, message: JointState) -> None:
        try:
            position = by_name(self._names, list(message.name), message.position)
            velocity = self._velocity(message, position)
        except MessageError as error:
            self._node.get_logger().warning(f"joint_states: {error}", throttle_duration_sec=5.0)
            return
        # A value that is not finite is no measurement: it ages as if nothing had come.
        if np.all(np.isfinite(position)) and np.all(np.isfinite(velocity)):
            self._measured.put(Measured(position, velocity, steady_now()))

    def _velocity(self, message: JointState, position: FloatArray) -> FloatArray:
        """The given velocities, or differences where the driver gives none."""
        if len(message.velocity) > 0:
            return by_name(self._names, list(message.name), message.velocity)
        stamp_ns = stamp_from_msg(message.header.stamp)
        before, self._stamped = self._stamped, (stamp_ns, position)
        if before is None or stamp_ns <= before[0]:
            return np.zeros_like(position)
        return (position - before[1]) / seconds(stamp_ns - before[0])

    def _on_chunk(self, data: bytes, info: Mapping[str, int]) -> None:
        self.chunk_sent_ns = StampNs(info["source_timestamp"])
        try:
            self._chunks.append(self._read(data))
        except MessageError as error:
            self._chunks.append(BadChunk(str(error)))

    def _on_heartbeat(self, message: UInt64) -> None:
        self._heartbeat.put(Heartbeat(int(message.data), steady_now()))

    def _on_target(self, message: JointState) -> None:
        try:
            position = by_name(self._names, list(message.name), message.position)
        except MessageError as error:
            self._node.get_logger().warning(f"operator/target: {error}", throttle_duration_sec=5.0)
            return
        if np.all(np.isfinite(position)):
            source = message.header.frame_id or "operator:unnamed"
            self._target.put(Target(position, source, steady_now()))

    def _on_estop(self, message: Bool) -> None:
        self._estops.append((bool(message.data), steady_now()))


def _drain(values: deque[T]) -> list[T]:
    return [values.popleft() for _ in range(len(values))]

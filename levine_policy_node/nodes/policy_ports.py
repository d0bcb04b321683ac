# SPDX-License-Identifier: Apache-2.0
"""What `policy_executor` hears and says: its topics and timers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import String, UInt64
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.observation import Goal
from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.robot import Robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.camera_topics import CameraTopics, camera_topic
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.ros.managed_node import ManagedNode
from levine_policy_node.ros.messages import goal_from_msg

_SUPERVISOR_TIMEOUT_NS = nanoseconds(0.2)


class PolicyPorts:
    """Publishers, subscriptions and timers, which come and go together.

    Attributes:
        chunks: `policy/action_chunk`.
        raw: `policy/raw_chunk`.
        inference: `policy/inference`.
        heartbeat: `policy/heartbeat`.
        diagnostics: `/diagnostics`.
        task: What `task` said last; "" if it is not listened to, or has said nothing.
        goal: What `goal` said last, likewise; None for nothing.
    """

    def __init__(self, node: ManagedNode, robot: Robot) -> None:
        self._node = node
        self._robot = robot
        self._supervisor_ns: SteadyNs | None = None
        self._release: list[Callable[[], object]] = []
        self._cameras: set[str] = set()
        self._hears_task = self._hears_goal = False
        self.task = ""
        self.goal: Goal | None = None
        self.chunks = self._publisher(JointTrajectory, "policy/action_chunk", qos.COMMAND)
        self.raw = self._publisher(JointTrajectory, "policy/raw_chunk", qos.COMMAND)
        self.inference = self._publisher(String, "policy/inference", qos.TICKS)
        self.heartbeat = self._publisher(UInt64, "policy/heartbeat", qos.HEARTBEAT)
        self._problem = self._publisher(String, "policy/problem", qos.PROBLEM)
        self.diagnostics = self._publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def listen(
        self,
        on_joint_state: Callable[[JointState], None],
        on_mode: Callable[[String], None],
    ) -> None:
        """Subscribe to the robot and the supervisor."""
        node = self._node
        for subscription in (
            node.create_subscription(
                JointState, "joint_states", on_joint_state, qos.JOINT_STATE_IN
            ),
            node.create_subscription(String, "supervisor/mode", on_mode, qos.MODE),
            node.create_subscription(
                UInt64, "supervisor/heartbeat", self._on_supervisor, qos.HEARTBEAT
            ),
        ):
            self._release.append(lambda used=subscription: node.destroy_subscription(used))

    def _on_supervisor(self, message: UInt64) -> None:
        del message
        self._supervisor_ns = steady_now()

    @property
    def unsupervised(self) -> tuple[str, str] | None:
        """Kind and text of the problem that a supervisor was there and is silent; else None.

        Without one, a policy may be tried on its own.
        """
        heard_ns = self._supervisor_ns
        if heard_ns is None or steady_now() - heard_ns <= _SUPERVISOR_TIMEOUT_NS:
            return None
        return "silent", "no inference: the supervisor is silent (limit 0.2 s)"

    def tell(self, problem: str | None) -> None:
        """Say on `policy/problem` why there is no observation, "" for no more; None says nothing.

        The supervisor pauses as long as it is told of a problem.
        """
        if problem is not None:
            self._problem.publish(String(data=problem))

    def every(self, period_s: float, callback: Callable[[], None]) -> None:
        """Call back periodically by the steady clock.

        A paused or stepped ROS clock must not silence the heartbeat.
        """
        node = self._node
        timer = node.create_timer(
            period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._release.append(lambda: node.destroy_timer(timer))

    def read(self, cameras: Collection[str], store: FrameStore) -> None:
        """Subscribe to those of the cameras that are not subscribed to yet."""
        new = [name for name in cameras if name not in self._cameras]
        if new:
            topics = {name: camera_topic(name, self._robot.cameras[name]) for name in new}
            self._release.append(CameraTopics(self._node, topics, store).close)
            self._cameras.update(new)

    def hear(self, *, task: bool, goal: bool) -> None:
        """Subscribe to `task` and `goal` where that is wanted and not done yet."""
        if task and not self._hears_task:
            self._hears_task = True
            self._subscribed(String, "task", self._on_task)
        if goal and not self._hears_goal:
            self._hears_goal = True
            self._subscribed(PointStamped, "goal", self._on_goal)

    def _subscribed(self, kind: Any, topic: str, callback: Callable[[Any], None]) -> None:
        heard = self._node.create_subscription(kind, topic, callback, qos.TASK)
        self._release.append(lambda: self._node.destroy_subscription(heard))

    def _on_goal(self, message: PointStamped) -> None:
        self.goal = goal_from_msg(message)

    def _on_task(self, message: String) -> None:
        self.task = message.data

    def close(self) -> None:
        """Release everything, last things first."""
        while self._release:
            self._release.pop()()
        self._cameras.clear()
        self._hears_task = self._hears_goal = False

    def _publisher(self, kind: Any, topic: str, profile: Any) -> Any:
        publisher = self._node.create_lifecycle_publisher(kind, topic, profile)
        self._release.append(lambda: self._node.destroy_lifecycle_publisher(publisher))
        return publisher

# SPDX-License-Identifier: Apache-2.0
"""A process that publishes where it must not; told on its standard input when.

`python -m levine_policy_node.bench.intruder rogue|flood TOPIC`, or `camera TOPIC TO` to pass on
images or, when told, the last one again and again with fresh stamps. It prints when [ns] it sent
its first such message, and goes on until its input ends. `call SERVICE` asks once and leaves.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import UInt64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.messages import duration_to_msg
from levine_policy_node.ros.scheduling import PROMPT, set_urgency

ROGUE_HZ = 50.0
FLOOD_HZ = 10_000.0
_ASIDE_RAD = 0.3
_WITHIN_S = 0.5
_MATCH_TIMEOUT_S = 10.0
_MATCH_POLL_S = 0.005


class Intruder(Node):
    """Publishes trajectories aside of where the arm is, or heartbeats by the thousand."""

    def __init__(self) -> None:
        super().__init__("intruder")
        self._pose: JointState | None = None
        self.create_subscription(JointState, "joint_states", self._on_joints, qos.JOINT_STATE_IN)

    def joins(self, topic: str) -> bool:
        """Whether it has not yet found the arm and whoever commands it."""
        return self._pose is None or self.count_publishers(topic) == 0

    def trajectory(self) -> JointTrajectory:
        """To somewhere else than anybody asked for."""
        pose = self._pose or JointState()
        point = JointTrajectoryPoint(
            positions=[position + _ASIDE_RAD for position in pose.position],
            velocities=[0.0] * len(pose.name),
            time_from_start=duration_to_msg(_WITHIN_S),
        )
        return JointTrajectory(joint_names=pose.name, points=[point])

    def _on_joints(self, message: JointState) -> None:
        self._pose = message


def _publish(publisher: Any, message: Callable[[], Any], rate_hz: float, node: Node) -> None:
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    waited = 0.0
    while publisher.get_subscription_count() < 1 and waited < _MATCH_TIMEOUT_S:
        ended.wait(_MATCH_POLL_S)
        waited += _MATCH_POLL_S
    print(int(ros_now(node)), flush=True)  # noqa: T201  this is how it talks
    sent = 0
    begun_ns = ros_now(node)
    while not ended.is_set():
        due = 1 + int((ros_now(node) - begun_ns) / 1e9 * rate_hz)
        for _ in range(due - sent):
            publisher.publish(message())
        sent = due
        ended.wait(min(1.0 / rate_hz, 0.001))


class Camera:
    """Passes images on; frozen, it puts each new stamp on an old image."""

    def __init__(self, node: Node, topic: str, to: str) -> None:
        self._node = node
        self._publisher = node.create_publisher(Image, to, qos.IMAGE_OUT)
        self._frozen = False
        self._last: Image | None = None
        self._told = False
        node.create_subscription(Image, topic, self._on_image, qos.IMAGE_IN)

    def listen(self) -> None:
        """Freeze with one line of standard input, thaw with the next; until it ends."""
        for _ in sys.stdin:
            self._told = False
            self._frozen = not self._frozen
        rclpy.try_shutdown()

    def _on_image(self, message: Image) -> None:
        if self._frozen and self._last is not None:
            message.data = self._last.data
        self._last = message
        self._publisher.publish(message)
        if self._frozen and not self._told:
            self._told = True
            print(int(ros_now(self._node)), flush=True)  # noqa: T201


def _pass_images_on(topic: str, to: str) -> None:
    rclpy.init()
    node = Node("lens")
    camera = Camera(node, topic, to)
    threading.Thread(target=camera.listen, daemon=True).start()
    print("ready", flush=True)  # noqa: T201
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)
    node.destroy_node()


def _call(service: str) -> int:
    """What `ros2 service call` does."""
    rclpy.init()
    node = Node("caller")
    client = node.create_client(Trigger, service)
    there = client.wait_for_service(_MATCH_TIMEOUT_S)
    answer = client.call_async(Trigger.Request())
    rclpy.spin_until_future_complete(node, answer, timeout_sec=_MATCH_TIMEOUT_S)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0 if there and answer.done() else 1


def main() -> int:
    """Run until standard input ends."""
    kind, topic = sys.argv[1], sys.argv[2]
    if kind == "call":
        return _call(topic)
    set_urgency(PROMPT)
    if kind == "camera":
        _pass_images_on(topic, sys.argv[3])
        return 0
    rclpy.init(args=sys.argv)
    node = Intruder()
    while node.joins(topic):
        rclpy.spin_once(node, timeout_sec=0.1)
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    rclpy.spin_once(node, timeout_sec=0.1)
    if kind == "rogue":
        rogue = node.trajectory()
        publisher = node.create_publisher(JointTrajectory, topic, qos.COMMAND)
        _publish(publisher, lambda: rogue, ROGUE_HZ, node)
    else:
        publisher = node.create_publisher(UInt64, topic, qos.HEARTBEAT)
        _publish(publisher, lambda: UInt64(data=0), FLOOD_HZ, node)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

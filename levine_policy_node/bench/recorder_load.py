# SPDX-License-Identifier: Apache-2.0
"""What a robot with two cameras says, for `levine bench recorder` to record.

    recorder_load sensors OUTPUT compressed|raw    joint states at 500 Hz, two cameras at 30 Hz
    recorder_load control OUTPUT CYCLE_S           mode, proposal, command and target at 100 Hz

Each runs until SIGTERM and then writes what it sent: the stamps of each topic, and for `control`
the steady times of its commands, which the production control loop sends in real time as the
supervisor does. With a CYCLE_S above 0 it ends an episode and begins another that often.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from levine_policy_node.core.units import NS_PER_S, StampNs, SteadyNs
from levine_policy_node.parentage import end_with_parent
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_to_msg, steady_now
from levine_policy_node.ros.deadline_loop import DeadlineLoop
from levine_policy_node.ros.scheduling import switch_threads_often, use_realtime

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = ("front", "wrist")
STATES_HZ, CAMERAS_HZ, CONTROL_HZ = 500.0, 30.0, 100.0
STATES, COMMAND, PROPOSAL, TARGET = (
    "joint_states",
    "supervisor/command",
    "supervisor/proposal",
    "operator/target",
)
_POLICY, _HUMAN = "policy:load@0123abcd#1", "operator:load"
_PRIORITY = 50
_PICTURES = 12
_REST_S = 0.05


class Ending:
    """Whether a signal has asked to end.

    An Event must not be set by a handler: the thread that it interrupts may hold its lock.
    """

    def __init__(self) -> None:
        self.asked = False
        self._never = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self.asked = True

    def ask(self) -> None:
        """Ask from within."""
        self.asked = True

    def rest(self, seconds: float) -> None:
        """Let so much time pass; a signal does not cut it short."""
        self._never.wait(seconds)


class Sender:
    """Publishes joint states and images, and remembers their stamps."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.sent: dict[str, list[int]] = {}

    def publisher(self, kind: type[Any], topic: str, profile: QoSProfile) -> Callable[..., None]:
        """Make a function that stamps a message, publishes it and notes its stamp."""
        publisher = self._node.create_publisher(kind, topic, profile)
        stamps = self.sent.setdefault(topic, [])

        def publish(message: Any, now_ns: int) -> None:
            message.header.stamp = stamp_to_msg(StampNs(now_ns))
            publisher.publish(message)
            stamps.append(now_ns)

        return publish


def camera_topic(name: str, *, compressed: bool) -> str:
    """Topic of a camera, as robot files call it."""
    return f"camera/{name}/image" + ("/compressed" if compressed else "")


def pictures(*, compressed: bool) -> list[Any]:
    """Noisy pictures, as cameras make them: such compress badly."""
    random = np.random.default_rng(1)
    ramp = np.add.outer(np.linspace(0, 120, 480), np.linspace(0, 120, 640))[..., None]
    found: list[Any] = []
    for _ in range(_PICTURES):
        noisy = ramp + random.normal(0.0, 6.0, (480, 640, 3))
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        if compressed:
            jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            found.append(CompressedImage(format="jpeg", data=jpeg.tobytes()))
        else:
            found.append(
                Image(height=480, width=640, encoding="rgb8", step=1920, data=pixels.tobytes())
            )
    return found


def send_sensors(node: Node, sender: Sender, ending: Ending, *, compressed: bool) -> None:
    """Publish joint states and images at their rates until told to stop."""
    states = sender.publisher(JointState, STATES, qos.JOINT_STATE_OUT)
    kind = CompressedImage if compressed else Image
    cameras = [
        sender.publisher(kind, camera_topic(name, compressed=compressed), qos.IMAGE_OUT)
        for name in CAMERAS
    ]
    shown = pictures(compressed=compressed)
    state = JointState(name=list(JOINTS), position=[0.1] * 6, velocity=[0.0] * 6, effort=[0.0] * 6)
    began = time.monotonic()
    ticks = frames = 0
    while not ending.asked:
        passed = time.monotonic() - began
        if passed >= ticks / STATES_HZ:
            states(state, ros_now(node))
            ticks += 1
        if passed >= frames / CAMERAS_HZ:
            for publish in cameras:
                publish(shown[frames % len(shown)], ros_now(node))
            frames += 1
        due = min(ticks / STATES_HZ, frames / CAMERAS_HZ)
        ending.rest(max(0.0, began + due - time.monotonic()))


class Commands:
    """The cycle of the control loop: one command, proposal and target per tick."""

    def __init__(self, node: Node, sender: Sender, cycle_s: float) -> None:
        self._node = node
        streams = ((COMMAND, _POLICY), (PROPOSAL, _POLICY), (TARGET, _HUMAN))
        self._streams = [(sender.publisher(JointState, t, qos.TICKS), s) for t, s in streams]
        self._mode = node.create_publisher(String, "supervisor/mode", qos.MODE)
        self._cycle_ns = round(cycle_s * NS_PER_S)
        self._began_ns = steady_now()
        self.times_ns: list[int] = []
        self._mode.publish(String(data="POLICY"))

    def take(self) -> None:
        """Nothing arrives here."""

    def decide(self, taken: None, due_ns: SteadyNs) -> SteadyNs:
        """What is sent needs no decision."""
        del taken
        return due_ns

    def renew(self, taken: None) -> None:
        """Nothing arrives here."""
        del taken

    def send(self, decided: SteadyNs) -> None:
        """Publish one tick."""
        del decided
        now_ns = steady_now()
        self.times_ns.append(now_ns)
        stamp_ns = ros_now(self._node)
        for publish, source in self._streams:
            message = JointState(name=list(JOINTS), position=[0.1] * 6, velocity=[0.0] * 6)
            message.header.frame_id = source
            publish(message, stamp_ns)
        if 0 < self._cycle_ns < now_ns - self._began_ns:
            self._began_ns = now_ns
            for mode in ("DISARMED", "ARMED", "POLICY"):
                self._mode.publish(String(data=mode))


def send_commands(node: Node, sender: Sender, ending: Ending, cycle_s: float) -> list[int]:
    """Publish commands until told to stop; returns the steady time of each [ns]."""
    switch_threads_often()
    use_realtime("recorder_load", _PRIORITY, (), lock_memory=False)
    commands = Commands(node, sender, cycle_s)
    loop = DeadlineLoop(1.0 / CONTROL_HZ, commands, ending.ask)
    loop.start()
    while not ending.asked:
        ending.rest(_REST_S)
    loop.stop()
    return commands.times_ns


def main() -> int:
    """Run one role until SIGTERM, then write what was sent."""
    role, output, how = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    ending = Ending()
    end_with_parent()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f"recorder_load_{role}")
    sender = Sender(node)
    times_ns: list[int] = []
    if role == "sensors":
        send_sensors(node, sender, ending, compressed=how == "compressed")
    else:
        times_ns = send_commands(node, sender, ending, float(how))
    output.write_text(json.dumps({"sent": sender.sent, "times_ns": times_ns}))
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

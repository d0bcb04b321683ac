# SPDX-License-Identifier: Apache-2.0
"""A supervisor process with an arm and a policy played by the test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from harness import Graph, NodeProcess
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String, UInt64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.limits import first_excess
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import StampNs, nanoseconds, seconds
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg
from levine_policy_node.ros.messages import (
    joint_state_to_msg,
    timeline_from_msg,
    timeline_to_msg,
)

ROBOT = load_robot("sim_so101")
MIDDLE = 0.5 * (ROBOT.limits().lower + ROBOT.limits().upper)
COMMANDS = f"{ROBOT.controller.name}/joint_trajectory"
PARAMETERS = share_directory() / "config" / "safety_supervisor.param.yaml"


def in_free_space(folder: Path) -> str:
    """A robot file of the same arm with nothing around: the swing may lead anywhere."""
    document = yaml.safe_load(ROBOT.path.read_text())
    del document["collision"], document["hand"]["limits"]
    path = folder / "sim_so101.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


class Script(Node):
    """An arm that does what it is told and a policy that swings it, in a thread of their own."""

    def __init__(self) -> None:
        super().__init__("script", use_global_arguments=False)
        self.arm_on = True
        self.policy_on = False
        self.chunks_on = True
        self.position = MIDDLE
        self.held: np.ndarray | None = None
        self.window: Timeline[StampNs] | None = None
        self.windows: list[Timeline[StampNs]] = []
        self.heartbeat_ns = 0
        self.inferences = 0
        self._joints = self.create_publisher(JointState, "joint_states", qos.JOINT_STATE_OUT)
        self.chunks = self.create_publisher(JointTrajectory, "policy/action_chunk", qos.COMMAND)
        self._heart = self.create_publisher(UInt64, "policy/heartbeat", qos.HEARTBEAT)
        self._target = self.create_publisher(JointState, "operator/target", qos.COMMAND)
        self._heard = self.create_subscription(
            JointTrajectory, COMMANDS, self._on_window, qos.COMMAND
        )
        self.create_timer(0.01, self._play_arm)
        self.create_timer(0.02, self._beat)
        self.create_timer(0.04, self._infer)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="script")
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._executor.shutdown()
        self.destroy_node()

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def hear(self, profile: QoSProfile) -> None:
        """Listen to the commands with another quality of service."""
        self.destroy_subscription(self._heard)
        self._heard = self.create_subscription(JointTrajectory, COMMANDS, self._on_window, profile)

    def _on_window(self, message: JointTrajectory) -> None:
        self.window = timeline_from_msg(message, ROBOT.joint_names)
        self.windows.append(self.window)

    def _play_arm(self) -> None:
        now = ros_now(self)
        point = JointPoint.at_rest(self.position)
        if self.window is not None:
            point = self.window.sample(now)
            self.position = point.position
        if self.arm_on:
            self._joints.publish(joint_state_to_msg(ROBOT.joint_names, point, now))
        if self.held is not None:
            target = JointPoint.at_rest(self.held)
            self._target.publish(
                joint_state_to_msg(ROBOT.joint_names, target, now, "operator:test")
            )

    def _beat(self) -> None:
        if self.policy_on:
            self.heartbeat_ns = ros_now(self)
            self._heart.publish(UInt64(data=self.inferences))

    def _infer(self) -> None:
        if self.policy_on and self.chunks_on:
            self.inferences += 1
            self.chunks.publish(timeline_to_msg(self.chunk()))

    def chunk(self) -> Timeline[StampNs]:
        """A swing around home, a function of absolute time."""
        times_s = np.arange(25) * 0.05
        begin = StampNs(ros_now(self) - nanoseconds(0.02))
        turn = 2.0 * (seconds(begin % 1_000_000_000_000) + times_s)[:, None]
        size = np.array([0.3, 0.2, 0.2, 0.2, 0.3, 0.1])
        return Timeline(
            ROBOT.joint_names,
            begin,
            times_s,
            MIDDLE + size * np.sin(turn),
            2.0 * size * np.cos(turn),
            -4.0 * size * np.sin(turn),
            "policy:swing@0badcafe#0",
        )


class Bench:
    """A supervisor process with the script it moves, and the ears of the test."""

    def __init__(
        self, ros: Graph, robot: str = "sim_so101", stops: str = "''", **parameters: object
    ) -> None:
        self.ros = ros
        self.parameters = parameters
        self.stops = stops
        self.robot = robot
        self.modes: list[str] = []
        self.script = Script()
        self.estop = ros.node.create_publisher(Bool, "estop", qos.SWITCH)
        self.problem = ros.node.create_publisher(String, "policy/problem", qos.PROBLEM)
        ros.node.create_subscription(
            String, "supervisor/mode", lambda m: self.modes.append(m.data), qos.MODE
        )
        self.commands = ros.collect(JointState, "supervisor/command", qos.TICKS)
        self.proposals = ros.collect(JointState, "supervisor/proposal", qos.TICKS)
        self.events = ros.collect(DiagnosticArray, "supervisor/events", qos.EVENTS)
        self.start()

    def start(self) -> None:
        """Start a supervisor and wait until both sides know each other."""
        self.modes.clear()
        self.process: NodeProcess = self.ros.start(
            "safety_supervisor",
            params_file=PARAMETERS,
            # This process plays the arm next to everything else; only tests that mean it make
            # it late.
            parameters={
                "robot": self.robot,
                "joint_state_timeout_s": 0.4,
                "reference_timeout_s": 0.4,
                "target_timeout_s": 0.4,
                "black_box_root": self.stops,
                **self.parameters,
            },
        )
        self.until("DISARMED")
        heard = ("joint_states", "policy/action_chunk", "policy/heartbeat", "estop")
        self.spin_until(
            lambda: all(self.ros.node.count_subscribers(topic) >= 1 for topic in heard),
            "the supervisor's subscriptions",
        )

    def refresh(self) -> Bench:
        """Bring everything back to a disarmed arm that is seen, and forget what was received."""
        if not self.process.alive:
            self.start()
        script = self.script
        script.arm_on, script.policy_on, script.chunks_on, script.held = True, False, True, None
        self.estop.publish(Bool(data=False))
        self.problem.publish(String(data=""))
        self.spin_until(lambda: self.mode != "STOPPING", "the end of the stop")
        if self.mode in {"PSTOP", "FAULT", "ESTOP"}:
            self.insist("reset")
        elif self.mode != "DISARMED":
            self.insist("disarm")
        self.until("DISARMED")
        for received in (script.windows, self.commands, self.proposals, self.events):
            received.clear()
        script.inferences = 0
        return self

    def insist(self, name: str) -> None:
        """Ask until it is granted."""
        refusal = self.refusal(name)
        assert not refusal, f"{name}: {refusal}"

    def refusal(self, name: str) -> str:
        """Ask until it is granted, or what is said against it in the end."""
        message = ""
        for _ in range(50):
            success, message = self.ask(name)
            if success:
                return ""
            self.ros.spin_for(0.05)
        return message

    @property
    def mode(self) -> str:
        return self.modes[-1] if self.modes else ""

    def spin_until(self, predicate: Callable[[], bool], what: str, timeout_s: float = 15.0):
        self.ros.spin_until(predicate, timeout_s, what)

    def until(self, mode: str) -> None:
        self.spin_until(lambda: self.mode == mode, f"mode {mode} (history {self.modes})")

    def ask(self, name: str) -> tuple[bool, str]:
        reply = self.ros.call(Trigger, f"supervisor/{name}", Trigger.Request())
        return reply.success, reply.message

    def must(self, name: str) -> None:
        success, message = self.ask(name)
        assert success, message

    def engage(self) -> None:
        """Arm and engage; then wait until the arm really moves."""
        for _ in range(3):
            self.insist("arm")
            self.script.policy_on = True
            refusal = self.refusal("engage")
            if not refusal:
                break
            # A machine that is held up meanwhile latches a stop, as it should.
            latched = self.mode in {"PSTOP", "FAULT", "ESTOP"}
            self.insist("reset" if latched else "disarm")
        else:
            raise AssertionError(f"engage: {refusal}")
        self.spin_until(lambda: self.speed() > 0.1, "motion")

    def speed(self) -> float:
        return max(abs(v) for v in self.commands[-1].velocity) if self.commands else 0.0

    def said(self, name: str) -> list[tuple[int, str]]:
        """Events of one name: stamp and text."""
        return [
            (stamp_from_msg(array.header.stamp), status.message)
            for array in self.events
            for status in array.status
            if status.name == name
        ]

    def assert_all_windows_are_abandon_safe(self) -> None:
        assert self.script.windows
        for window in self.script.windows:
            assert first_excess(window, ROBOT.limits()) is None
            assert np.all(window.velocities[-1] == 0.0)
            assert np.all(window.accelerations[-1] == 0.0)

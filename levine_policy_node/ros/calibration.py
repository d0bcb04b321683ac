# SPDX-License-Identifier: Apache-2.0
"""Move one joint a little, as an operator would, and record what everyone says about it.

The supervisor shapes what an operator asks for, so what it commanded (`supervisor/command`) and
not what was asked is the motion that delays are measured from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.client import Client
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger

from levine_policy_node.core.chirp import Chirp, fitting_amplitude
from levine_policy_node.core.units import FloatArray, SteadyNs, seconds
from levine_policy_node.errors import LevineError
from levine_policy_node.robot import Robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_to_msg, steady_now
from levine_policy_node.ros.motion_recorder import MotionRecorder, Recording
from levine_policy_node.ros.operator_client import CALL_TIMEOUT_S, LATCHED_MODES, OperatorClient

SOURCE = "operator:calibrate"

_TARGET_PERIOD_S = 0.02
_READY_TIMEOUT_S = 20.0
_STEP_TIMEOUT_S = 5.0
_BEFORE_S = 0.7
# The arm comes to rest, and frames come late by up to the longest delay that is searched.
_AFTER_S = 1.5
_ATTEMPTS = 5
_RESTING = frozenset({"INIT", "DISARMED", "ARMED", "PAUSED"}) | LATCHED_MODES


class CalibrationError(LevineError, RuntimeError):
    """The running graph did not do what the calibration needed."""


class Calibration(OperatorClient):
    """A client of the running graph that plays the operator."""

    def __init__(self, robot: Robot, cameras: Sequence[str], namespace: str = "") -> None:
        super().__init__("calibrate", namespace)
        self._robot, node = robot, self.node
        self._cause, self._gravity = "", DiagnosticStatus.OK
        self._wanted: Callable[[SteadyNs], FloatArray] | None = None
        self._recorder = MotionRecorder(node, robot, cameras)
        node.create_subscription(DiagnosticArray, "supervisor/events", self._on_events, qos.EVENTS)
        self._target = node.create_publisher(JointState, "operator/target", qos.COMMAND)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_TARGET_PERIOD_S, self._publish_target, clock=steady)
        self._clients: dict[str, Client] = {
            name: node.create_client(Trigger, f"supervisor/{name}")
            for name in ("arm", "disarm", "pause")
        }
        self._clients["takeover"] = node.create_client(SetBool, "supervisor/takeover")

    def wait_ready(self) -> None:
        """Wait until the supervisor, the joint states and every camera are there.

        Raises:
            CalibrationError: If something is missing, or the supervisor is not DISARMED.
        """

        def missing() -> list[str]:
            services = [
                f"supervisor/{name}"
                for name, client in self._clients.items()
                if not client.service_is_ready()
            ]
            mode = [] if self.mode else ["supervisor/mode"]
            return services + mode + self._recorder.missing()

        if not self.spin_until(lambda: not missing(), _READY_TIMEOUT_S):
            raise CalibrationError(
                f"not there after {_READY_TIMEOUT_S:.0f} s: {', '.join(missing())}. Is the robot "
                "running (levine up), in this ROS_DOMAIN_ID and namespace?"
            )
        if not self.spin_until(lambda: self.mode == "DISARMED", _STEP_TIMEOUT_S):
            raise CalibrationError(
                f"the supervisor is in {self.mode}; a calibration begins from DISARMED"
            )

    def record(self, joint: str, chirp: Chirp) -> Recording:
        """Arm, oscillate one joint about its present pose, come back to it and disarm.

        A pause by a watchdog (a busy computer) is answered by another try; a latched stop is not.

        Args:
            joint: Which joint moves.
            chirp: The motion; its amplitude is reduced to the room that the joint has.

        Raises:
            CalibrationError: If a step is refused or the arm is stopped; the message says why.
        """
        index = self._robot.joint_names.index(joint)
        for _ in range(_ATTEMPTS):
            if not self._attempt(index, chirp):
                continue
            recording = self._recorder.recording(index)
            if recording is None:
                raise CalibrationError("a topic fell silent while the arm moved")
            return recording
        raise CalibrationError(f"the arm was stopped {_ATTEMPTS} times: {self._cause}")

    def _attempt(self, joint: int, chirp: Chirp) -> bool:
        """Play the chirp once; False if the supervisor ended it early."""
        self._recorder.clear()
        self._cause, self._gravity = "", DiagnosticStatus.OK
        try:
            self._reach("ARMED", "DISARMED", "arm")
            commanded = self._recorder.commanded.values
            if not self.spin_until(lambda: bool(commanded), _STEP_TIMEOUT_S):
                raise CalibrationError("the supervisor is armed and commands nothing")
            # From what is commanded and not from what is measured, so that nothing jumps.
            pose = commanded[-1]
            fitting = self._fitting(joint, chirp, pose)
            self._wanted = lambda _: pose
            self._reach("HUMAN", "ARMED", "takeover")
            self._recorder.clear()
            return self._oscillate(joint, fitting, pose)
        finally:
            self._stand_down()

    def _fitting(self, joint: int, chirp: Chirp, pose: FloatArray) -> Chirp:
        amplitude = fitting_amplitude(chirp, pose, self._robot.limits(), joint)
        if amplitude is None:
            raise CalibrationError(
                f"{self._robot.joint_names[joint]} stands at {pose[joint]:.3f}, too near its "
                f"limits to move by {chirp.amplitude:g}. Move it away or choose another --joint"
            )
        return replace(chirp, amplitude=amplitude)

    def _oscillate(self, joint: int, chirp: Chirp, pose: FloatArray) -> bool:
        only = np.zeros_like(pose)
        only[joint] = 1.0
        begin_ns = steady_now()

        def wanted(now_ns: SteadyNs) -> FloatArray:
            return pose + only * chirp.offset(seconds(now_ns - begin_ns) - _BEFORE_S)

        self._wanted = wanted
        self.spin_until(lambda: self.mode != "HUMAN", _BEFORE_S + chirp.duration_s + _AFTER_S)
        return self.mode == "HUMAN"

    def _stand_down(self) -> None:
        """Whatever happened: bring the arm to rest and disarm it."""
        if self.mode == "HUMAN":
            self._call("pause")
        self.spin_until(lambda: self.mode in _RESTING, _STEP_TIMEOUT_S)
        self._wanted = None
        if self.mode in {"ARMED", "PAUSED"}:
            self._call("disarm")
        if not self.spin_until(lambda: self.mode in {"DISARMED"} | LATCHED_MODES, _STEP_TIMEOUT_S):
            raise CalibrationError(f"the supervisor did not disarm; it is in {self.mode}")
        if self.mode in LATCHED_MODES:
            raise CalibrationError(
                f"the supervisor stopped the arm ({self.mode}): {self._cause}. Find out why, "
                "then call supervisor/reset"
            )

    def _reach(self, wanted: str, before: str, act: str) -> None:
        """Ask for an act until the mode is reached: the supervisor must first see the arm stand.

        Raises:
            CalibrationError: If it is still refused after a while; says why.
        """
        reason = ""
        deadline = time.monotonic() + _STEP_TIMEOUT_S
        while self.mode != wanted:
            if time.monotonic() > deadline or self.mode in LATCHED_MODES:
                why = reason or self._cause or f"the mode is {self.mode}"
                raise CalibrationError(f"supervisor/{act} did not lead to {wanted}: {why}")
            if self.mode == before:
                reason = self._call(act)
            self.spin_until(lambda: self.mode == wanted, 0.1)

    def _call(self, act: str) -> str:
        """Call one of the supervisor's services; returns why it was refused, or ""."""
        request = SetBool.Request(data=True) if act == "takeover" else Trigger.Request()
        future = self._clients[act].call_async(request)
        self.spin_until(future.done, CALL_TIMEOUT_S)
        reply = future.result() if future.done() else None
        if reply is None:
            return f"no reply within {CALL_TIMEOUT_S:.0f} s"
        return "" if reply.success else str(reply.message)

    def _publish_target(self) -> None:
        if self._wanted is None:
            return
        message = JointState()
        message.header.stamp = stamp_to_msg(ros_now(self.node))
        message.header.frame_id = SOURCE
        message.name = list(self._robot.joint_names)
        message.position = self._wanted(steady_now()).tolist()
        self._target.publish(message)

    def _on_events(self, message: DiagnosticArray) -> None:
        for status in message.status:
            # The gravest since the attempt began says why it ended; others only follow from it.
            if status.level > self._gravity:
                self._gravity = status.level
                self._cause = f"{status.name}: {status.message}"

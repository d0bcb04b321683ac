# SPDX-License-Identifier: Apache-2.0
"""The simulated SO-101 behind the topics of ros2_control and a camera driver."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.units import NS_PER_S, StampNs, nanoseconds
from levine_policy_node.nodes.sim_cameras import CameraOptions, CameraThread, SimCamera
from levine_policy_node.nodes.sim_commands import judged, read_command
from levine_policy_node.nodes.sim_control import ControlThread
from levine_policy_node.nodes.sim_reference import ReferencePublisher
from levine_policy_node.nodes.sim_setup import (
    SimArmParameters,
    make_cameras,
    make_controller,
    make_view,
    read_description,
)
from levine_policy_node.robot import load_robot
from levine_policy_node.robot_effort import effort_options
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_to_msg, steady_now
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.messages import (
    MessageError,
    goal_to_msg,
    image_to_msg,
)
from levine_policy_node.ros.parameters import load_parameters
from levine_policy_node.ros.scheduling import URGENT, set_urgency, switch_threads_often
from levine_policy_node.runtime.memory import collect_garbage
from levine_policy_node.sim.arm import ArmOptions, JointReading
from levine_policy_node.sim.plant import Plant, PlantOptions, hard_limits
from levine_policy_node.sim.scene import ImageArray, prepare_gl
from levine_policy_node.sim.tasks import make_task

_EPISODE_PERIOD_NS = nanoseconds(0.1)


class SimArm(Node):
    """Runs the plant in real time and puts ROS around it."""

    def __init__(self) -> None:
        super().__init__("sim_arm")
        self._settings = p = load_parameters(self, SimArmParameters)
        self._robot = load_robot(p.robot)
        cameras, view = make_cameras(self._robot, p), make_view(p)
        description = read_description(self._robot)
        if cameras or view:
            prepare_gl()
        self._lock = threading.Lock()
        self._limits = hard_limits(self._robot.limits(), self._robot.margins())
        period_ns = round(NS_PER_S / p.update_rate_hz)
        arm = ArmOptions(p.friction_scale, p.encoder_noise_rad)
        efforts = effort_options(self._robot.controller, self._robot.joints)
        self._plant = Plant(
            make_controller(self._robot, p, period_ns),
            self._limits,
            PlantOptions(period_ns, p.actuation_delay_s, arm, efforts),
            p.seed,
            ros_now(self),
            make_task(p.task),
        )
        self._cameras = CameraThread(
            cameras,
            self._publish_frame,
            CameraOptions(p.camera_delay_s, p.image_noise),
        )
        self._view = CameraThread(view, self._publish_frame, CameraOptions())
        self._control = ControlThread(period_ns, self._tick, lambda: ros_now(self))
        self._episode_due_ns = self._last_tick_ns = 0
        self._diagnosed = _Sample(time.monotonic(), time.process_time(), 0, {})
        self._make_publishers([*cameras, *view], description)
        self._make_inputs()
        self._start()

    def close(self) -> None:
        """Stop the threads; called once by the entry point."""
        for thread in (self._control, self._cameras, self._view):
            thread.close()

    def _start(self) -> None:
        try:
            for camera_thread in (self._cameras, self._view):
                camera_thread.restart(self._settings.seed)
                camera_thread.start()
        except BaseException:
            self.close()
            raise
        self._control.start()
        self.get_logger().info(
            f"{self._robot.name}: {self._plant.controller_name} at "
            f"{self._settings.update_rate_hz:g} Hz"
        )

    def _make_publishers(self, cameras: list[SimCamera], description: str) -> None:
        self._joint_states = self.create_publisher(JointState, "joint_states", qos.JOINT_STATE_OUT)
        self._reference = ReferencePublisher(self, self._robot, self._plant.controller)
        self._episodes = self.create_publisher(String, "sim/episode", qos.TICKS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._frames = {
            camera.name: self.create_publisher(Image, camera.topic, qos.IMAGE_OUT)
            for camera in cameras
        }
        self._descriptions = self.create_publisher(String, "robot_description", qos.DESCRIPTION)
        self._descriptions.publish(String(data=description))
        self._goals = self.create_publisher(PointStamped, "goal", qos.TASK)
        self._tell_goal()

    def _tell_goal(self) -> None:
        """Say where the hand is to be, if the task has such a place."""
        goal = self._plant.task.goal
        if goal is not None:
            self._goals.publish(goal_to_msg(goal, ros_now(self)))

    def _make_inputs(self) -> None:
        name = self._robot.controller.name
        # Deeper than the sender's queue: the monitor must see every command.
        if self._plant.controller_name == "joint_trajectory":
            # As bytes, which rclpy's types do not know of.
            heard: Any = self._on_trajectory
            self.create_subscription(
                JointTrajectory, f"{name}/joint_trajectory", heard, qos.TICKS, raw=True
            )
        else:
            self.create_subscription(
                Float64MultiArray, f"{name}/commands", self._on_forward_command, qos.TICKS
            )
        self.create_service(Trigger, "sim/reset", self._on_reset)
        self.create_service(Trigger, "sim/report", self._on_report)
        self.create_timer(1.0, self._diagnose)

    def _tick(self, now_ns: StampNs) -> None:
        """One control cycle, in the control thread."""
        with self._lock:
            self._last_tick_ns = int(now_ns)
            self._plant.monitor.was_late(ros_now(self) - now_ns)
            reading = self._plant.read()
            for camera_thread in (self._cameras, self._view):
                due = camera_thread.due(now_ns)
                if due:
                    camera_thread.capture(due, now_ns, self._plant.scene_state())
            # Inside the lock, so no state from before a reset is published after it.
            self._joint_states.publish(self._joint_state(reading, now_ns))
            self._plant.step(now_ns, reading)
            self._reference.publish(now_ns)
            episode, scene = self._plant.episode, self._plant.scene_state()
        if now_ns >= self._episode_due_ns:
            self._episode_due_ns = now_ns + _EPISODE_PERIOD_NS
            self._episodes.publish(String(data=episode.to_json(scene)))

    def _joint_state(self, reading: JointReading, now_ns: StampNs) -> JointState:
        message = JointState()
        message.header.stamp = stamp_to_msg(now_ns)
        message.name = list(self._robot.joint_names)
        message.position = reading.position.tolist()
        message.velocity = reading.velocity.tolist()
        message.effort = reading.effort.tolist()
        return message

    def _publish_frame(self, name: str, pixels: ImageArray, stamp_ns: StampNs) -> None:
        self._frames[name].publish(image_to_msg(pixels, stamp_ns, name))

    def _on_trajectory(self, data: bytes, info: Mapping[str, Any]) -> None:
        received_ns, now_ns = steady_now(), ros_now(self)
        try:
            command, fields = read_command(data)
        except MessageError as error:
            self._warn_rejected(str(error))
            return
        with self._lock:
            self._plant.monitor.was_late(now_ns - info["source_timestamp"])
            reason = self._plant.receive_trajectory(command, now_ns, received_ns)
        if reason is not None:
            self._warn_rejected(reason)
            return
        # Half a millisecond of work, so not under the lock the control thread needs.
        findings = judged(fields, self._robot.joint_names, self._limits)
        if findings is not None:
            with self._lock:
                self._plant.monitor.record(findings)

    def _on_forward_command(self, message: Float64MultiArray) -> None:
        values = np.array(message.data, dtype=np.float64)
        with self._lock:
            reason = self._plant.receive_forward(values, steady_now())
        if reason is not None:
            self._warn_rejected(reason)

    def _warn_rejected(self, reason: str) -> None:
        self.get_logger().warning(f"command ignored: {reason}", throttle_duration_sec=1.0)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        seed = int(self.get_parameter("seed").value or 0)
        with self._lock:
            self._plant.reset(seed, ros_now(self))
            for camera_thread in (self._cameras, self._view):
                camera_thread.restart(seed)
            self._episode_due_ns = 0
            # Whatever is stamped later shows the new episode.
            reset = {"seed": seed, "stamp_ns": self._last_tick_ns}
        self._tell_goal()
        response.success, response.message = True, json.dumps(reset)
        return response

    def _on_report(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        with self._lock:
            report = self._plant.monitor.report()
        response.success, response.message = True, json.dumps(report)
        return response

    def _diagnose(self) -> None:
        collect_garbage()
        for thread in (self._control, self._cameras, self._view):
            if thread.failure is not None:
                raise RuntimeError("a thread of sim_arm failed") from thread.failure
        published = {**self._cameras.published, **self._view.published}
        now = _Sample(time.monotonic(), time.process_time(), self._control.ticks, published)
        control_hz = now.control_hz(self._diagnosed)
        steps_per_tick = 1.0 / (self._settings.update_rate_hz * self._plant.physics_period_s)
        values = {
            "control_hz": f"{control_hz:.1f}",
            "physics_hz": f"{control_hz * steps_per_tick:.1f}",
            **_load(self._diagnosed, now, self._control),
            **self._plant.monitor.counts(),
        }
        behind = self._control.skipped > 0
        problem = "simulation could not keep up" if behind else ""
        self._diagnosed = now
        message = diagnostics_to_msg(self, values, problem, summary="running")
        self._diagnostics.publish(message)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Counters at one instant, to make rates of."""

    at_s: float
    cpu_s: float
    ticks: int
    frames: dict[str, int]

    def control_hz(self, before: _Sample) -> float:
        return (self.ticks - before.ticks) / max(self.at_s - before.at_s, 1e-9)


def _load(before: _Sample, now: _Sample, control: ControlThread) -> dict[str, str]:
    span_s = max(now.at_s - before.at_s, 1e-9)
    p50, p99, largest = control.lateness_percentiles()
    values = {
        "cpu": f"{(now.cpu_s - before.cpu_s) / span_s:.3f}",
        "tick_lateness_ms_p50": f"{p50:.2f}",
        "tick_lateness_ms_p99": f"{p99:.2f}",
        "tick_lateness_ms_max": f"{largest:.2f}",
        "skipped_ticks": str(control.skipped),
    }
    for camera, count in now.frames.items():
        values[f"{camera}_fps"] = f"{(count - before.frames.get(camera, 0)) / span_s:.1f}"
    return values


def main(argv: list[str] | None = None) -> int:
    """Run the node until a signal."""
    # A real controller does not wait for the policy's computer.
    set_urgency(URGENT)
    switch_threads_often()
    return run(lambda: [SimArm()], argv)


if __name__ == "__main__":
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""What `sim_arm` is made from: its parameters, and the robot file checked against the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from levine_policy_node.core.units import nanoseconds
from levine_policy_node.errors import ConfigError
from levine_policy_node.nodes.sim_cameras import SimCamera
from levine_policy_node.robot import Robot
from levine_policy_node.ros.parameters import parameter
from levine_policy_node.sim.controller_semantics import SEMANTICS, Distribution
from levine_policy_node.sim.effort_controller import EffortCommandController
from levine_policy_node.sim.forward_command_controller import ForwardCommandController
from levine_policy_node.sim.joint_trajectory_controller import (
    JointTrajectoryController,
    TrajectoryControllerOptions,
)
from levine_policy_node.sim.plant import Controller, check_joints
from levine_policy_node.sim.scene import CAMERA_NAMES, VIEW_CAMERA
from levine_policy_node.sim.tasks import TASKS
from levine_policy_node.urdf import find_urdf

_CONTROLLERS = ("joint_trajectory", "forward_command")


@dataclass(frozen=True, slots=True)
class SimArmParameters:
    """Parameters of `sim_arm`."""

    robot: str = parameter("Robot file: a name in config/robots or a path")
    controller_type: str = parameter(
        "joint_trajectory or forward_command; empty: the robot file's", default=""
    )
    update_rate_hz: float = parameter(
        "Rate of the simulated controller manager [Hz]", low=20.0, high=500.0, default=100.0
    )
    semantics: str = parameter(
        "Release of ros2_controllers the controller behaves as: humble, jazzy, kilted or master",
        default="jazzy",
    )
    interpolate_from_desired_state: bool = parameter(
        "joint_trajectory_controller's parameter of this name (humble: open_loop_control)",
        default=False,
    )
    allow_trajectory_replacement: bool = parameter(
        "joint_trajectory_controller's parameter of this name; only master has it", default=True
    )
    task: str = parameter("What episodes are about: pick_place or reach", default="pick_place")
    seed: int = parameter("Seed of the next sim/reset", low=0, default=0, dynamic=True)
    actuation_delay_s: float = parameter(
        "Time until a setpoint reaches the servo [s]", low=0.0, high=1.0, default=0.0
    )
    encoder_noise_rad: float = parameter(
        "Standard deviation of measured positions [rad]", low=0.0, high=0.1, default=0.0
    )
    friction_scale: float = parameter(
        "Factor on friction and damping of the joints", low=0.0, high=10.0, default=1.0
    )
    camera_delay_s: float = parameter(
        "Time from capture to publication of a frame [s]", low=0.0, high=1.0, default=0.0
    )
    image_noise: float = parameter(
        "Standard deviation of a pixel, of 255", low=0.0, high=100.0, default=0.0
    )
    camera_width: int = parameter(
        "Width of the frames [px]; 0: the robot file's", low=0, high=1920, default=0
    )
    camera_height: int = parameter(
        "Height of the frames [px]; 0: the robot file's", low=0, high=1080, default=0
    )
    view_fps: float = parameter(
        "Rate of camera/view/image for videos [Hz]; 0: none", low=0.0, high=60.0, default=0.0
    )
    view_width: int = parameter("Width of the view [px]", low=16, high=1920, default=640)
    view_height: int = parameter("Height of the view [px]", low=16, high=1080, default=480)

    def __post_init__(self) -> None:
        if self.controller_type not in {"", *_CONTROLLERS}:
            known = ", ".join(_CONTROLLERS)
            raise ValueError(f"controller_type: '{self.controller_type}' is not one of {known}")
        if self.semantics not in SEMANTICS:
            known = ", ".join(SEMANTICS)
            raise ValueError(f"semantics: '{self.semantics}' is not one of {known}")
        if self.task not in TASKS:
            raise ValueError(f"task: '{self.task}' is not one of {', '.join(TASKS)}")


def make_controller(robot: Robot, parameters: SimArmParameters, period_ns: int) -> Controller:
    """The one controller that is active, for the joints of `robot`.

    Raises:
        ConfigError: If the robot's joints are not those of the simulated arm.
    """
    problem = check_joints(robot.joint_names)
    if problem is not None:
        raise ConfigError(str(robot.path), "joints", problem)
    semantics = cast("Distribution", parameters.semantics)
    controller = robot.controller
    if controller.interface == "effort" and controller.command_timeout_s is not None:
        timeout_ns = nanoseconds(controller.command_timeout_s)
        return EffortCommandController(robot.joint_names, timeout_ns, semantics)
    if (parameters.controller_type or controller.type) == "forward_command":
        return ForwardCommandController(robot.joint_names, semantics)
    options = TrajectoryControllerOptions(
        semantics,
        interpolate_from_desired_state=parameters.interpolate_from_desired_state,
        allow_trajectory_replacement=parameters.allow_trajectory_replacement,
    )
    return JointTrajectoryController(robot.joint_names, period_ns, options)


def make_cameras(robot: Robot, parameters: SimArmParameters) -> list[SimCamera]:
    """The cameras of `robot`, with the size the parameters ask for.

    Raises:
        ConfigError: If the scene has no such camera or it is not read from a topic.
    """
    cameras: list[SimCamera] = []
    for name, stream in robot.cameras.items():
        field = f"cameras.{name}"
        if name not in CAMERA_NAMES:
            known = ", ".join(CAMERA_NAMES)
            raise ConfigError(str(robot.path), field, f"the simulated scene has only {known}")
        if stream.topic is None or stream.compressed:
            raise ConfigError(
                str(robot.path), field, "the simulation publishes raw images", "Give a 'topic'"
            )
        width = parameters.camera_width or stream.width
        height = parameters.camera_height or stream.height
        cameras.append(SimCamera(name, stream.topic, width, height, stream.rate_hz))
    return cameras


def make_view(parameters: SimArmParameters) -> list[SimCamera]:
    """The camera that films the scene, if asked for."""
    if parameters.view_fps <= 0.0:
        return []
    p = parameters
    topic = "camera/view/image"
    return [SimCamera(VIEW_CAMERA, topic, p.view_width, p.view_height, p.view_fps)]


def read_description(robot: Robot) -> str:
    """Text of the robot's URDF.

    Raises:
        ConfigError: If the file the robot file names does not exist.
    """
    return find_urdf(robot).read_text()

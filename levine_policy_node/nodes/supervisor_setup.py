# SPDX-License-Identifier: Apache-2.0
"""Parameters of `safety_supervisor`, and what is made of them and of the robot file."""

from __future__ import annotations

from dataclasses import dataclass, fields

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.surroundings import ControllerOptions
from levine_policy_node.core.takeover import TakeoverOptions
from levine_policy_node.nodes.black_box_link import BlackBoxSettings, black_box_head
from levine_policy_node.robot import Robot
from levine_policy_node.robot_effort import effort_options
from levine_policy_node.ros.controllers.forward_command import (
    ForwardCommandOutput,
    ForwardEffortOutput,
)
from levine_policy_node.ros.controllers.joint_trajectory import JointTrajectoryOutput
from levine_policy_node.ros.parameters import parameter
from levine_policy_node.runtime.collision_model import collision_model


@dataclass(frozen=True, slots=True)
class SafetySupervisorParameters:
    """Parameters of `safety_supervisor`; `core.supervision.SupervisorOptions` explains them."""

    robot: str = parameter("Robot file: a name in config/robots or a path")
    control_rate_hz: float = parameter("Ticks per second [Hz]", low=20.0, high=500.0)
    window_s: float = parameter("Motion given ahead, before its brake [s]", low=0.04, high=0.1)
    lead_s: float = parameter("Time until a change takes effect [s]", low=0.0, high=0.06)
    command_period_s: float = parameter("Time between windows [s]", low=0.01, high=0.05)
    overrun_s: float = parameter("Gap between two ticks [s]", low=0.03, high=0.5)
    joint_state_timeout_s: float = parameter("Age of joint_states [s]", low=0.02, high=1.0)
    policy_timeout_s: float = parameter("Silence of the policy [s]", low=0.03, high=1.0)
    inference_stall_s: float = parameter("Time without an inference [s]", low=0.05, high=10.0)
    starved_timeout_s: float = parameter("Standing without a chunk [s]", low=0.0, high=10.0)
    target_timeout_s: float = parameter("Age of operator/target [s]", low=0.02, high=1.0)
    takeover_tolerance: float = parameter(
        "Distance of an absolute device from the arm that refuses its takeover; 0: none [rad]",
        low=0.0,
        high=6.3,
    )
    takeover_fade_share: float = parameter(
        "Speed at which that distance fades, of the velocity limits", low=0.01, high=0.5
    )
    abandon_s: float = parameter("PAUSED without a policy [s]", low=0.1, high=60.0)
    tracking_tolerance: float = parameter("Distance from the command [rad]", low=0.01, high=3.0)
    tracking_timeout_s: float = parameter("Time beyond it [s]", low=0.0, high=2.0)
    tracking_delay_s: float = parameter("Lag that is allowed for [s]", low=0.0, high=0.3)
    rest_velocity: float = parameter("Speed of an arm at rest [rad/s]", low=0.001, high=1.0)
    stop_timeout_s: float = parameter("Longest stop [s]", low=0.5, high=10.0)
    estop_heartbeat_s: float = parameter("Silence of estop; 0: off [s]", low=0.0, high=10.0)
    enable_timeout_s: float = parameter("Silence of enable; 0: off [s]", low=0.0, high=10.0)
    reference_timeout_s: float = parameter("Silence of the controller [s]", low=0.02, high=1.0)
    reference_tolerance: float = parameter(
        "Distance of what the controller commands from what it was sent [rad]", low=1e-4, high=1.0
    )
    joint_state_rate_hz: float = parameter(
        "Joint states per second at most; 3 times as many are a flood [Hz]", low=10.0, high=5000.0
    )
    clock_skew_s: float = parameter(
        "Distance of other hosts' clocks that refuses to arm [s]", low=0.001, high=10.0
    )

    black_box_root: str = parameter("Folder of the stops; empty: no black box")
    black_box_files: int = parameter("Stops that are kept", low=1, high=100_000)
    black_box_mb: int = parameter("Size of the stops that are kept [MB]", low=32, high=1_000_000)
    black_box_reserve_gb: float = parameter("Space left to others [GB]", low=0.0, high=1000.0)

    realtime_priority: int = parameter("SCHED_FIFO if permitted; 0: off", low=0, high=99)
    lock_memory: bool = parameter("Keep all memory resident (mlockall)")
    cpus: tuple[int, ...] = parameter("Processors to run on; empty: all", default=())
    operators: tuple[str, ...] = parameter(
        "Names of the nodes that may ask for motion; empty: any", default=()
    )

    def __post_init__(self) -> None:
        if self.lead_s + self.command_period_s + 1.0 / self.control_rate_hz > self.window_s:
            raise ValueError(
                "window_s: must be at least lead_s + command_period_s + one tick, or the "
                "controller brakes between two windows"
            )

    def black_box_head(
        self, node: Node, robot: Robot, options: SupervisorOptions
    ) -> dict[str, object] | None:
        """What the black box has to know; None if there is to be none."""
        if not self.black_box_root:
            return None
        settings = BlackBoxSettings(
            self.black_box_root,
            self.black_box_files,
            self.black_box_mb,
            self.black_box_reserve_gb,
        )
        return black_box_head(node, settings, robot, options)


Output = JointTrajectoryOutput | ForwardCommandOutput | ForwardEffortOutput


def make_output(node: Node, robot: Robot) -> Output:
    """Create what sends to the robot's controller."""
    kinds = {
        ("joint_trajectory", "position"): JointTrajectoryOutput,
        ("forward_command", "position"): ForwardCommandOutput,
        ("forward_command", "effort"): ForwardEffortOutput,
    }
    kind = kinds[robot.controller.type, robot.controller.interface]
    return kind(node, robot.controller.name)


def make_options(
    p: SafetySupervisorParameters,
    robot: Robot,
    controller: Output,
) -> SupervisorOptions:
    """Parameters of the same name, and what the robot file says."""
    own = {f.name for f in fields(SupervisorOptions)}
    given = {f.name: getattr(p, f.name) for f in fields(p) if f.name in own}
    return SupervisorOptions(
        limits=robot.limits(),
        home=robot.home_position(),
        exempt=~robot.arm_joints(),
        sends_windows=controller.sends_windows,
        tick_s=1.0 / p.control_rate_hz,
        efforts=effort_options(robot.controller, robot.joints),
        controller=ControllerOptions(p.reference_timeout_s, p.reference_tolerance),
        obstacles=collision_model(robot),
        takeover=TakeoverOptions(p.takeover_tolerance, p.takeover_fade_share),
        contact_effort=robot.contact_effort(),
        **given,
    )


def refuse_parameters(parameters: list[Parameter]) -> SetParametersResult:
    """Say that nothing can be set while the supervisor runs."""
    names = ", ".join(parameter.name for parameter in parameters)
    reason = f"{names}: parameters of the supervisor are fixed while it runs; restart it"
    return SetParametersResult(successful=False, reason=reason)

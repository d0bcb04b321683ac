# SPDX-License-Identifier: Apache-2.0
"""Parameters of `operator`, and the kinematics its device may need."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.devices.device import Speeds
from levine_policy_node.errors import SystemDependencyError
from levine_policy_node.robot import Robot
from levine_policy_node.ros.parameters import parameter
from levine_policy_node.runtime.hand_kinematics import HandKinematics


@dataclass(frozen=True, slots=True)
class OperatorParameters:
    """Parameters of `operator`; `config/operator.param.yaml`."""

    robot: str = parameter("Robot file: a name in config/robots or a path")
    device: str = parameter("One that ships, or of an entry point")
    rate_hz: float = parameter("Targets per second [Hz]", low=20.0, high=200.0)
    linear_speed: float = parameter("Of the hand, at full deflection [m/s]", low=0.001, high=2.0)
    angular_speed: float = parameter("Of the hand [rad/s]", low=0.01, high=5.0)
    joint_speed: float = parameter("Of a joint that is jogged [rad/s]", low=0.01, high=5.0)
    options: tuple[str, ...] = parameter("What the device wants to know: name=value", default=())

    def __post_init__(self) -> None:
        for option in self.options:
            if "=" not in option:
                raise ValueError(f"options: expected name=value, found '{option}'")

    def speeds(self) -> Speeds:
        """How fast devices are at full deflection."""
        return Speeds(self.linear_speed, self.angular_speed, self.joint_speed)

    def device_options(self) -> dict[str, str]:
        """The options by name."""
        pairs = (option.split("=", 1) for option in self.options)
        return {name.strip(): value.strip() for name, value in pairs}


def hand_of(robot: Robot) -> tuple[HandKinematics | None, str]:
    """The kinematics of the robot's hand, or None and why there is none."""
    if robot.hand is None:
        return None, f"{robot.path}: hand: is missing; only joints can be led"
    try:
        return HandKinematics(robot), ""
    except SystemDependencyError as error:
        return None, f"{error}; only joints can be led"

# SPDX-License-Identifier: Apache-2.0
"""What a device is to the node `operator`: a dead-man, a motion and a few buttons.

A plug-in is a function `make(context) -> Device`, named by an entry point of the group
`levine_policy_node.devices`. `docs/operator.md` shows a whole one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from rclpy.node import Node

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.core.dead_man import Act
from levine_policy_node.core.units import FloatArray, SteadyNs
from levine_policy_node.errors import ConfigError, LevineError, UnknownNameError


class DeviceLostError(LevineError, RuntimeError):
    """A device was unplugged, or its driver gave up."""


@dataclass(frozen=True, slots=True)
class JointPositions:
    """Where an absolute device, such as a leader arm, has its joints.

    Attributes:
        positions: By joint of the robot [rad]; a joint that is left out is held.
    """

    positions: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class JointRates:
    """How fast joints are to move.

    Attributes:
        rates: By joint of the robot [rad/s].
    """

    rates: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class HandRates:
    """How fast the hand is to move, along the axes of its base.

    Attributes:
        twist: Linear [m/s] and angular [rad/s], shape (6,).
        gripper: How fast the gripper is to open, as a share of its fastest, -1 to 1.
    """

    twist: FloatArray
    gripper: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class HandMotion:
    """Where a device that is held in the hand is; the arm's hand moves as it does.

    Attributes:
        pose: In any frame that stands still and whose axes are those of the arm's base.
        gripper: See `HandRates`.
    """

    pose: Poses
    gripper: float = 0.0


Motion: TypeAlias = JointPositions | JointRates | HandRates | HandMotion


@dataclass(frozen=True, slots=True)
class Reading:
    """What a device says.

    Attributes:
        said_ns: When it did. It is passed on once: a device that falls silent stops the arm.
        held: Whether its dead-man is pressed.
        motion: Where to.
        acts: Buttons pressed since the last reading.
    """

    said_ns: SteadyNs
    held: bool
    motion: Motion
    acts: frozenset[Act] = frozenset()


class Device(Protocol):
    """One input device."""

    @property
    def name(self) -> str:
        """Short and without spaces; the source tag of its targets is `operator:<name>`."""
        ...

    def read(self, now_ns: SteadyNs) -> Reading | None:
        """What the device says now; called at the node's rate, and must not wait.

        Returns:
            None if it has said nothing usable.

        Raises:
            DeviceLostError: If it is gone.
        """
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast a device at full deflection moves the arm.

    Attributes:
        linear: Of the hand [m/s].
        angular: Of the hand [rad/s].
        joint: Of a joint [rad/s].
    """

    linear: float
    angular: float
    joint: float


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What a device is made with.

    Attributes:
        node: For devices that are topics.
        joint_names: Of the robot.
        speeds: At full deflection.
        options: What the user set for it, as text.
    """

    node: Node
    joint_names: tuple[str, ...]
    speeds: Speeds
    options: Mapping[str, str]

    def settings(self, **defaults: str | float) -> dict[str, str | float]:
        """The options of a device, each as its default has it: text or a number.

        Raises:
            UnknownNameError: If an option is not among them.
            ConfigError: If one is no number.
        """
        found = dict(defaults)
        for name, text in self.options.items():
            if name not in defaults:
                raise UnknownNameError("parameters of operator", "options", name, defaults)
            found[name] = text if isinstance(defaults[name], str) else _number(name, text)
        return found


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            "parameters of operator", f"options: {name}", f"'{text}' is not a number"
        ) from error

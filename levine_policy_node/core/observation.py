# SPDX-License-Identifier: Apache-2.0
"""What the robot measured at one instant, as a policy gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import FloatArray, StampNs

Pixels = npt.NDArray[np.uint8]
"""RGB pixels, shape (H, W, 3)."""

Tensors = Mapping[str, npt.NDArray[Any]]
"""Graph inputs or outputs by tensor name."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image.

    Attributes:
        stamp_ns: When the light was captured, on the ROS clock.
        pixels: RGB, shape (H, W, 3); never written to.
        repeats: How many frames before this one had bit-identical pixels, without a gap.
    """

    stamp_ns: StampNs
    pixels: Pixels
    repeats: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class JointSample:
    """One joint state, in the joint order of the robot file.

    Attributes:
        stamp_ns: When it was measured, on the ROS clock.
        positions: Shape (J,) [rad].
        velocities: Shape (J,) [rad/s], or None if the robot does not measure them.
    """

    stamp_ns: StampNs
    positions: FloatArray
    velocities: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """A place for the hand.

    Attributes:
        frame: What `position` is in.
        position: Shape (3,) [m].
    """

    frame: str
    position: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """Joint state and images of one instant.

    Attributes:
        stamp_ns: Reference time: capture of the images, on the ROS clock.
        joint_positions: Shape (J,) [rad], in the joint order of the robot file.
        images: RGB pixels (H, W, 3) by camera name.
        joint_velocities: Shape (J,) [rad/s], or None if the robot does not measure them.
        task: What is to be done, in words; "" if nobody has said.
        goal: Where the hand is to be; None if nobody has said.
        past: What was measured before, oldest first, for a policy that sees it.
        joints_ns: Stamps of the one or two joint states that the positions were made of.
        frames_ns: Capture stamps of the images by camera.
    """

    stamp_ns: StampNs
    joint_positions: FloatArray
    images: Mapping[str, Pixels] = field(default_factory=dict[str, Pixels])
    joint_velocities: FloatArray | None = None
    task: str = ""
    goal: Goal | None = None
    past: tuple[Observation, ...] = ()
    joints_ns: tuple[StampNs, ...] = ()
    frames_ns: Mapping[str, StampNs] = field(default_factory=dict[str, StampNs])

# SPDX-License-Identifier: Apache-2.0
"""The robot file: joints, limits, cameras and controller of one arm.

A robot file is YAML under `config/robots/` or anywhere. Every limit says where it comes from, and
a limit nobody published is marked as a placeholder, which is shown when the arm is armed.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.resources import share_directory
from levine_policy_node.robot_collision import (
    Collision,
    HandLimits,
    cartesian_placeholders,
    interface_refusal,
)
from levine_policy_node.robot_effort import CommandInterface, interface_problem
from levine_policy_node.robot_joint import Joint, Text, by_position, stuck_joint
from levine_policy_node.strict_model import Strict

_RELATIVE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def _relative_name(name: str) -> str:
    """Accept a relative ROS name; ROS itself would refuse another one only at run time."""
    if name.startswith("/"):
        raise ValueError(f"'{name}' must be relative (no leading '/')")
    if not _RELATIVE_NAME.fullmatch(name):
        raise ValueError(f"'{name}' is not a ROS name (letters, digits, '_', parts joined by '/')")
    return name


RelativeName = Annotated[str, AfterValidator(_relative_name)]


class Controller(CommandInterface):
    """The ros2_control controller that moves the joints."""

    type: Literal["joint_trajectory", "forward_command"]
    name: RelativeName
    actuation_delay_s: float = Field(default=0.0, ge=0, le=1.0)


class Hand(Strict):
    """What Cartesian policies move, by its frame in the URDF.

    `base` is the frame that poses are measured in; it stands still. A pose that the joints reach
    only to within the tolerances is reached as nearly as that, and one beyond them is a fault.
    """

    frame: Text
    base: Text
    position_tolerance: float = Field(default=1e-3, ge=0)
    rotation_tolerance: float = Field(default=1e-2, ge=0)
    limits: HandLimits | None = None


class CameraStream(Strict):
    """One camera: where its frames come from and how late their stamps are.

    A `noiseless` one is rendered: its pixels rightly repeat while nothing moves. With a
    `frame_id` only frames that say it are this camera's: drivers number cameras as they find them.
    """

    topic: RelativeName | None = None
    device: Text | None = None
    compressed: bool = False
    frame_id: Text | None = None
    noiseless: bool = False
    width: int = Field(default=640, gt=0)
    height: int = Field(default=480, gt=0)
    rate_hz: float = Field(default=30.0, gt=0)
    capture_delay_s: float = Field(default=0.0, ge=0, le=1.0)

    @model_validator(mode="after")
    def _one_source(self) -> CameraStream:
        if (self.topic is None) == (self.device is None):
            raise ValueError("give exactly one of 'topic' or 'device'")
        if self.frame_id is not None and self.topic is None:
            raise ValueError("'frame_id' is for topics; name a 'device' by its serial number")
        return self


class Robot(Strict):
    """A validated robot file.

    Attributes:
        name: Name of this file's robot.
        model: What bundles are made for; a simulated and a real arm may share it.
        sha256: Hash of the file's bytes, recorded with every episode.
        path: The file it was read from.
    """

    name: Text
    model: Text
    description: str = ""
    urdf: Text
    joints: dict[str, Joint] = Field(min_length=1)
    position_margin: float = Field(default=0.02, ge=0)
    home: dict[str, float]
    hand: Hand | None = None
    collision: Collision | None = None
    controller: Controller
    cameras: dict[str, CameraStream]
    sha256: str = ""
    path: Path = Path()

    @model_validator(mode="after")
    def _check(self) -> Robot:
        if set(self.home) != set(self.joints):
            raise ValueError(f"home: give exactly the joints {', '.join(self.joints)}")
        limits = self.limits()
        for i, name in enumerate(self.joints):
            if limits.lower[i] >= limits.upper[i]:
                raise ValueError(f"joints.{name}.position: no room left inside position_margin")
            if not limits.lower[i] <= self.home[name] <= limits.upper[i]:
                raise ValueError(f"home.{name}: {self.home[name]} is outside the joint's limits")
        stuck = stuck_joint(limits)
        if stuck:
            raise ValueError(f"joints.{stuck}")
        hand_limits = None if self.hand is None else self.hand.limits
        problem = interface_problem(
            self.controller.type, self.controller, self.joints
        ) or interface_refusal(self.controller.interface, self.collision, hand_limits)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joint names in file order, the order of every array of the runtime."""
        return tuple(self.joints)

    def margins(self) -> FloatArray:
        """How far commands stay inside each position range, shape (J,) [rad]."""
        own = (joint.position_margin for joint in self.joints.values())
        return np.array([self.position_margin if margin is None else margin for margin in own])

    def limits(self) -> JointLimits:
        """Limits for commands: the position range inset by the margin."""
        joints = list(self.joints.values())
        return JointLimits(
            names=self.joint_names,
            lower=np.array([j.position[0] for j in joints]) + self.margins(),
            upper=np.array([j.position[1] for j in joints]) - self.margins(),
            velocity=np.array([j.velocity for j in joints]),
            acceleration=np.array([j.acceleration for j in joints]),
            jerk=np.array([j.jerk for j in joints]),
            by_position=by_position(joints),
        )

    def contact_effort(self) -> FloatArray | None:
        """Measured effort at which a policy is stopped (J,), infinite for any; None for none."""
        given = [joint.contact_effort for joint in self.joints.values()]
        if not any(given):
            return None
        return np.array([np.inf if effort is None else effort for effort in given])

    def home_position(self) -> FloatArray:
        """Home pose in joint order, shape (J,) [rad]."""
        return np.array([self.home[name] for name in self.joints])

    def arm_joints(self) -> np.ndarray:
        """Mask (J,) of the joints that are no grippers."""
        return np.array([joint.role == "arm" for joint in self.joints.values()])

    def gripper_ends(self) -> dict[str, tuple[float, float]]:
        """Where every gripper is closed and where open [rad], by joint."""
        ends: dict[str, tuple[float, float]] = {}
        for name, joint in self.joints.items():
            if joint.role == "gripper":
                low, high = joint.position
                ends[name] = (low, high) if joint.closed == "lower" else (high, low)
        return ends

    def placeholders(self) -> tuple[str, ...]:
        """Limits nobody published, as `joint.limit`, to show when arming."""
        joints = tuple(f"{n}.{limit}" for n, j in self.joints.items() for limit in j.placeholder)
        hand_limits = None if self.hand is None else self.hand.limits
        return (*joints, *cartesian_placeholders(self.collision, hand_limits))


def robots_directory() -> Path:
    """Directory of the robot files that ship with the package."""
    return share_directory() / "config" / "robots"


def load_robot(name_or_path: str) -> Robot:
    """Read a robot file by the name of one that ships, or by path.

    Raises:
        UnknownNameError: If there is no such file; the message lists the known names.
        ConfigError: If the file is not YAML or does not follow the schema.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = robots_directory() / f"{name_or_path}.yaml"
    if not path.is_file():
        known = [p.stem for p in robots_directory().glob("*.yaml")]
        raise UnknownNameError("robot", name_or_path, name_or_path, known)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read ({error.strerror})") from error
    document = parse_yaml_mapping(raw, str(path))
    try:
        return Robot.model_validate(
            {**document, "sha256": hashlib.sha256(raw).hexdigest(), "path": path.resolve()}
        )
    except ValidationError as error:
        raise config_error(str(path), error) from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's last duplicate wins silently; a joint pasted twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Refuse a key that is given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"'{key.value}' is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml_mapping(raw: bytes, source: str) -> dict[str, Any]:
    """Parse a YAML mapping from bytes.

    Raises:
        ConfigError: If the bytes are not YAML or not a mapping; names the line.
    """
    try:
        document = yaml.load(raw, Loader=_UniqueKeyLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML raises ValueError for an impossible date and recurses per level of nesting.
        detail = " ".join(str(error).split())[:200]
        raise ConfigError(source, "", f"not valid YAML ({detail})", "Check indentation") from error
    if not isinstance(document, dict):
        raise ConfigError(source, "", "expected a mapping of fields to values")
    return document  # pyright: ignore[reportUnknownVariableType]


# What pydantic says, in the words of somebody who writes a YAML file.
_MESSAGES = {
    "missing": ("is missing", "Add the field"),
    "extra_forbidden": ("is not a known field", "Remove it or correct its spelling"),
    "dict_type": ("expected a mapping of names to values", ""),
    "model_type": ("expected a mapping of fields to values", ""),
    "tuple_type": ("expected a list", ""),
    "string_type": ("expected a text", "Put it in quotes"),
    "string_too_short": ("must not be empty", ""),
}


def config_error(source: str, error: ValidationError) -> ConfigError:
    """Turn the first pydantic complaint into one line that says what to do."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"] if part != "[key]")
    kind = first["type"]
    plain = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message, fix = _MESSAGES.get(kind, (plain, ""))
    if kind in {"too_short", "too_long"}:
        limits = first.get("ctx", {})
        wanted = limits.get("min_length", limits.get("max_length"))
        message = f"expected {'at least ' if kind == 'too_short' else 'at most '}{wanted} value(s)"
    # A validator of this file names the value itself, and a whole mapping says nothing.
    if kind not in {"missing", "value_error"} and not isinstance(
        first["input"], (dict, BaseModel)
    ):
        message += f" (found {first['input']!r:.80})"
    more = len(error.errors()) - 1
    hints = [fix] if fix else []
    if more:
        hints.append(f"{more} more error(s) in this file")
    return ConfigError(source, field, message, ". ".join(hints))

# SPDX-License-Identifier: Apache-2.0
"""The robot file: joints, limits, cameras and controller of one arm.

A robot file is YAML under `config/robots/` or anywhere. Every limit says where it comes from, and
a limit nobody published is marked as a placeholder, which is shown when the arm is armed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.resources import share_directory

LimitName = Literal["position", "velocity", "acceleration", "jerk", "effort"]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Joint(_Strict):
    """One joint and its limits, in [rad] and [s] (metres for a prismatic joint)."""

    position: tuple[float, float] = Field(strict=False)
    velocity: float = Field(gt=0)
    acceleration: float = Field(gt=0)
    jerk: float = Field(gt=0)
    effort: float | None = Field(default=None, gt=0)
    role: Literal["arm", "gripper"] = "arm"
    source: dict[LimitName, str]
    placeholder: tuple[LimitName, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _check(self) -> Joint:
        if self.position[0] >= self.position[1]:
            raise ValueError(f"position: lower {self.position[0]} must be below upper")
        needed: tuple[LimitName, ...] = ("position", "velocity", "acceleration", "jerk")
        missing = [name for name in needed if name not in self.source]
        if missing:
            raise ValueError(
                f"source: say where {', '.join(missing)} come(s) from (a data sheet, a URDF, or "
                "'chosen' together with an entry in placeholder)"
            )
        return self


class Controller(_Strict):
    """The ros2_control controller that moves the joints."""

    type: Literal["joint_trajectory", "forward_command"]
    name: str
    actuation_delay_s: float = Field(default=0.0, ge=0, le=1.0)


class CameraStream(_Strict):
    """One camera: where its frames come from and how late their stamps are."""

    topic: str | None = None
    device: str | None = None
    compressed: bool = False
    width: int = Field(default=640, gt=0)
    height: int = Field(default=480, gt=0)
    rate_hz: float = Field(default=30.0, gt=0)
    capture_delay_s: float = Field(default=0.0, ge=0, le=1.0)

    @model_validator(mode="after")
    def _one_source(self) -> CameraStream:
        if (self.topic is None) == (self.device is None):
            raise ValueError("give exactly one of 'topic' or 'device'")
        if self.topic is not None and self.topic.startswith("/"):
            raise ValueError(f"topic: '{self.topic}' must be relative (no leading '/')")
        return self


class Robot(_Strict):
    """A validated robot file.

    Attributes:
        name: Name of this file's robot.
        model: What bundles are made for; a simulated and a real arm may share it.
        sha256: Hash of the file's bytes, recorded with every episode.
        path: The file it was read from.
    """

    name: str
    model: str
    description: str = ""
    urdf: str
    joints: dict[str, Joint] = Field(min_length=1)
    position_margin: float = Field(default=0.02, ge=0)
    home: dict[str, float]
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
        return self

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joint names in file order, the order of every array of the runtime."""
        return tuple(self.joints)

    def limits(self) -> JointLimits:
        """Limits for commands: the position range inset by `position_margin`."""
        joints = list(self.joints.values())
        return JointLimits(
            names=self.joint_names,
            lower=np.array([j.position[0] + self.position_margin for j in joints]),
            upper=np.array([j.position[1] - self.position_margin for j in joints]),
            velocity=np.array([j.velocity for j in joints]),
            acceleration=np.array([j.acceleration for j in joints]),
            jerk=np.array([j.jerk for j in joints]),
        )

    def home_position(self) -> FloatArray:
        """Home pose in joint order, shape (J,) [rad]."""
        return np.array([self.home[name] for name in self.joints])

    def placeholders(self) -> tuple[str, ...]:
        """Limits nobody published, as `joint.limit`, to show when arming."""
        return tuple(f"{n}.{limit}" for n, j in self.joints.items() for limit in j.placeholder)


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
    raw = path.read_bytes()
    document = parse_yaml_mapping(raw, str(path))
    try:
        return Robot.model_validate(
            {**document, "sha256": hashlib.sha256(raw).hexdigest(), "path": path.resolve()}
        )
    except ValidationError as error:
        raise config_error(str(path), error) from error


def parse_yaml_mapping(raw: bytes, source: str) -> dict[str, Any]:
    """Parse a YAML mapping from bytes.

    Raises:
        ConfigError: If the bytes are not YAML or not a mapping; names the line.
    """
    try:
        document = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise ConfigError(source, "", f"not valid YAML ({detail})", "Check indentation") from error
    if not isinstance(document, dict):
        raise ConfigError(source, "", "expected a mapping of fields to values")
    return document  # pyright: ignore[reportUnknownVariableType]


def config_error(source: str, error: ValidationError) -> ConfigError:
    """Turn the first pydantic complaint into one line that says what to do."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    more = len(error.errors()) - 1
    fix = {
        "missing": "Add the field",
        "extra_forbidden": "Remove the field or correct its spelling",
    }.get(first["type"], "")
    shown = "" if first["type"] == "missing" else f" (found {first['input']!r:.80})"
    message = first["msg"].removeprefix("Value error, ")
    tail = f"{fix}. {more} more error(s) in this file" if more and fix else fix
    if more and not fix:
        tail = f"{more} more error(s) in this file"
    return ConfigError(source, field, f"{message}{shown}", tail)

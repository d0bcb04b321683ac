# SPDX-License-Identifier: Apache-2.0
"""The parts of `policy.yaml` about the robot's hand: where it is, and where it is to go."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from levine_policy_node.core.cartesian import Mode
from levine_policy_node.core.rotations import Rotation, widths
from levine_policy_node.runtime.column_schema import Numbers, check_numbers
from levine_policy_node.runtime.image_schema import Positive
from levine_policy_node.strict_model import Strict

Axis = Literal["x", "y", "z"]
TurnForm = Literal[Rotation, "yaw_cos_sin"]
AXES: tuple[Axis, ...] = get_args(Axis)
ANGLES: tuple[Rotation, ...] = ("euler_xyz", "axis_angle")
"""Forms with an angle per axis, so that some axes may be left out and angles be scaled."""

Text = Annotated[str, Field(min_length=1)]
Axes = Annotated[tuple[Axis, ...], Field(strict=False, min_length=1, max_length=3)]

_UNCLEAR = {
    "rot6d": "rot6d_rows (the first two rows of the matrix: pytorch3d, Diffusion Policy) or "
    "rot6d_columns (its first two columns: Zhou et al. 2019)",
    "quaternion": "quaternion_xyzw (ROS, scipy) or quaternion_wxyz (MuJoCo, Eigen)",
    "euler": "euler_xyz (roll, pitch, yaw about fixed axes) or euler_zyx (yaw, pitch, roll)",
}


def _form(value: Any) -> Any:
    """Refuse names that are read in two ways."""
    if isinstance(value, str) and value in _UNCLEAR:
        raise ValueError(f"'{value}' is not clear; say {_UNCLEAR[value]}")
    return value


def turn_width(form: TurnForm) -> int:
    """How many numbers a rotation has in this form."""
    return 2 if form == "yaw_cos_sin" else widths()[form]


class _Columns(Strict):
    """Numbers of the hand; `dim` is checked if given.

    Attributes:
        axes: Those that the columns are, where they are not all of them.
    """

    axes: Axes | None = None
    dim: Positive | None = None
    scale: Numbers = 1.0
    offset: Numbers = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """No joint is named."""
        return ()

    @property
    def kept(self) -> tuple[int, ...]:
        """Which axes the columns are."""
        return (0, 1, 2) if self.axes is None else tuple(AXES.index(axis) for axis in self.axes)

    def check_columns(self, width: int) -> None:
        """Refuse what contradicts the number of columns."""
        if self.axes is not None and len(set(self.axes)) != len(self.axes):
            raise ValueError("axes: one is given twice")
        if self.dim is not None and self.dim != width:
            which = ", for example axes: [z]" if self.dim < width else ""
            raise ValueError(f"dim {self.dim}, but there are {width} columns{which}")
        check_numbers(self.scale, self.offset, width, "columns")


class PositionTarget(_Columns):
    """Columns of the action that say where the hand goes [m].

    Attributes:
        frame: Along whose axes offsets are, `base` or `tcp` (the hand), or their names in the
            URDF.
        mode: `absolute` in the base frame, `relative` to the pose measured with the observation,
            or `delta`, each a step from the row before.
    """

    kind: Literal["target/body/position"]
    frame: Text = "base"
    mode: Mode = "absolute"

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.kept)

    @model_validator(mode="after")
    def _check(self) -> PositionTarget:
        self.check_columns(self.width)
        return self


class _Turning(_Columns):
    rotation: Annotated[TurnForm, BeforeValidator(_form)]

    @property
    def turn(self) -> int:
        """Columns of the rotation."""
        return turn_width(self.rotation) if self.axes is None else len(self.axes)


class RotationTarget(_Turning):
    """Columns of the action that say how the hand is turned [rad]; fields as for positions.

    Attributes:
        rotation: How the rotation is written.
    """

    kind: Literal["target/body/rotation"]
    frame: Text = "base"
    mode: Mode = "absolute"

    @property
    def width(self) -> int:
        """Columns."""
        return self.turn

    @model_validator(mode="after")
    def _check(self) -> RotationTarget:
        self.check_columns(self.width)
        plain = self.scale == 1.0 and self.offset == 0.0
        if self.rotation not in ANGLES and self.axes is not None:
            raise ValueError(f"axes: {self.rotation} has no angle per axis; {_angles()} have")
        if self.rotation not in (*ANGLES, "euler_zyx") and not plain:
            raise ValueError(f"scale and offset are for angles, and {self.rotation} has none")
        if self.mode == "absolute" and (self.axes is not None or self.rotation == "yaw_cos_sin"):
            raise ValueError("a rotation about some axes only must be relative or delta")
        return self


class PoseTarget(_Turning):
    """Columns of the action that are a position [m] and a rotation, in this order."""

    kind: Literal["target/body/pose"]
    frame: Text = "base"
    mode: Mode = "absolute"

    @property
    def width(self) -> int:
        """Columns."""
        return 3 + self.turn

    @model_validator(mode="after")
    def _check(self) -> PoseTarget:
        if self.axes is not None or self.scale != 1.0 or self.offset != 0.0:
            raise ValueError(
                "axes, scale and offset: give a target/body/position and a target/body/rotation"
            )
        if self.rotation == "yaw_cos_sin" and self.mode == "absolute":
            raise ValueError("a rotation about one axis only must be relative or delta")
        self.check_columns(self.width)
        return self


BodyTarget = PositionTarget | RotationTarget | PoseTarget

BodyKind = Literal[
    "state/body/pose",
    "state/body/position",
    "state/body/rotation",
    "state/body/velocity",
    "state/body/linear_velocity",
    "state/body/angular_velocity",
]
BODY_KINDS: tuple[BodyKind, ...] = get_args(BodyKind)
_TURNED = ("state/body/pose", "state/body/rotation")
_MOVING = ("state/body/velocity", "state/body/linear_velocity", "state/body/angular_velocity")


class BodyTerm(_Columns):
    """Where the hand is, or how it moves, from the joints that are measured.

    A pose is a position [m] and a rotation, a velocity is linear [m/s] and angular [rad/s].

    Attributes:
        frame: `tcp`, the hand, or its name in the URDF. Velocities may also be along the axes of
            the `base`.
        rotation: How rotations are written; poses and rotations need it.
        relative_to: What the pose is seen from: the base, or where the hand was when the policy
            took over (`start`).
    """

    kind: BodyKind
    frame: Text = "tcp"
    rotation: Annotated[Rotation, BeforeValidator(_form)] | None = None
    relative_to: Literal["base", "start"] = "base"

    @property
    def turns(self) -> bool:
        """Whether it contains a rotation."""
        return self.kind in _TURNED

    @property
    def moves(self) -> bool:
        """Whether it is a velocity."""
        return self.kind in _MOVING

    @property
    def width(self) -> int:
        """How many numbers it is."""
        turn = 0 if self.rotation is None else widths()[self.rotation]
        whole = {
            "state/body/pose": 3 + turn,
            "state/body/rotation": turn,
            "state/body/velocity": 6,
        }
        return len(self.kept) if self.axes is not None else whole.get(self.kind, 3)

    @model_validator(mode="after")
    def _check(self) -> BodyTerm:
        if self.turns != (self.rotation is not None):
            given = "needs rotation, for example" if self.turns else "has no rotation; remove"
            raise ValueError(f"{self.kind} {given} rotation: euler_xyz")
        if self.moves and self.relative_to != "base":
            raise ValueError("relative_to: velocities are relative to the base")
        whole = self.kind in ("state/body/pose", "state/body/velocity")
        angles = self.rotation is None or self.rotation in ANGLES
        if self.axes is not None and (whole or not angles):
            raise ValueError("axes: are of a position, of angles, or of one velocity")
        self.check_columns(self.width)
        return self


def _angles() -> str:
    return " and ".join(ANGLES)

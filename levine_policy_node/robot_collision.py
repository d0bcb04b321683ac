# SPDX-License-Identifier: Apache-2.0
"""The part of a robot file that says what the arm may not touch and how its hand may move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from levine_policy_node.strict_model import Strict

Text = Annotated[str, Field(min_length=1)]
Point = Annotated[tuple[float, float, float], Field(strict=False)]
Size = Annotated[float, Field(gt=0)]

_ORIGIN = (0.0, 0.0, 0.0)


class Sphere(Strict):
    """A ball [m]."""

    type: Literal["sphere"]
    radius: Size
    centre: Point = _ORIGIN


class Capsule(Strict):
    """Everything within `radius` of the line from `begin` to `end` [m]."""

    type: Literal["capsule"]
    radius: Size
    begin: Point
    end: Point

    @model_validator(mode="after")
    def _check(self) -> Capsule:
        if self.begin == self.end:
            raise ValueError("begin and end are the same point: use a sphere")
        return self


class Box(Strict):
    """A box [m], turned by roll, pitch and yaw [rad] as in URDF."""

    type: Literal["box"]
    size: Annotated[tuple[Size, Size, Size], Field(strict=False)]
    centre: Point = _ORIGIN
    rpy: Point = _ORIGIN


class HalfSpace(Strict):
    """Everything on one side of a plane, such as what is below a table's top.

    Attributes:
        normal: Points out of it, to where the arm may be.
        offset: How far the plane is from the origin along the normal [m].
    """

    type: Literal["half_space"]
    normal: Point = (0.0, 0.0, 1.0)
    offset: float = 0.0

    @model_validator(mode="after")
    def _check(self) -> HalfSpace:
        if self.normal == _ORIGIN:
            raise ValueError("normal: must not be zero")
        return self


Shape: TypeAlias = Annotated[Sphere | Capsule | Box, Field(discriminator="type")]
Place: TypeAlias = Annotated[Sphere | Capsule | Box | HalfSpace, Field(discriminator="type")]


class KeepOut(Strict):
    """A place where no part of the arm may be, in the base; with a margin of its own."""

    shape: Place
    margin: float | None = Field(default=None, ge=0)


class Collision(Strict):
    """Shapes that must not come nearer to each other than `margin` [m].

    Attributes:
        base: Link of the URDF that `keep_out` is measured in; it stands still.
        margin: Least distance of any two bodies [m].
        shapes: Of each link, in its own frame; what has none is not checked.
        keep_out: Table, walls, camera stands: in the frame of `base`.
        ignore: Pairs of links, or of a link and a `keep_out`, that are not checked. Links with
            only one joint between them never are.
        source: Where the shapes come from.
        placeholder: Whether nobody stands behind them.
    """

    base: Text
    margin: float = Field(ge=0)
    shapes: dict[str, Annotated[tuple[Shape, ...], Field(strict=False, min_length=1)]] = Field(
        min_length=1
    )
    keep_out: dict[str, KeepOut] = Field(default_factory=dict[str, KeepOut])
    ignore: Annotated[
        tuple[Annotated[tuple[str, str], Field(strict=False)], ...], Field(strict=False)
    ] = ()
    source: Text
    placeholder: bool = False

    @model_validator(mode="after")
    def _check(self) -> Collision:
        both = set(self.shapes) & set(self.keep_out)
        if both:
            raise ValueError(f"keep_out: '{min(both)}' is a link of shapes; choose another name")
        for pair in self.ignore:
            unknown = set(pair) - set(self.shapes) - set(self.keep_out)
            if unknown:
                raise ValueError(f"ignore: '{min(unknown)}' is in neither shapes nor keep_out")
        return self


class Workspace(Strict):
    """Where the hand's frame may be, in the hand's base [m]."""

    lower: Point
    upper: Point

    @model_validator(mode="after")
    def _check(self) -> Workspace:
        if any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ValueError("lower must be below upper in all three directions")
        return self


class Singularity(Strict):
    """Condition numbers of the hand's Jacobian between which Cartesian motions are slowed."""

    slow: float = Field(gt=1)
    stop: float = Field(gt=1)

    @model_validator(mode="after")
    def _check(self) -> Singularity:
        if self.slow >= self.stop:
            raise ValueError("slow must be below stop")
        return self


HandLimitName = Literal["tool_speed", "workspace", "singularity"]


class HandLimits(Strict):
    """How fast the hand may move [m/s], where it may be, and how near to singularities."""

    tool_speed: float | None = Field(default=None, gt=0)
    workspace: Workspace | None = None
    singularity: Singularity | None = None
    source: dict[HandLimitName, Text]
    placeholder: tuple[HandLimitName, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _check(self) -> HandLimits:
        given = {"tool_speed", "workspace", "singularity"} & self.model_fields_set
        missing = sorted(given - set(self.source))
        if missing:
            raise ValueError(f"source: say where {', '.join(missing)} come(s) from")
        return self


def cartesian_placeholders(
    collision: Collision | None, limits: HandLimits | None
) -> tuple[str, ...]:
    """What nobody published, to show when arming."""
    names = () if limits is None else tuple(f"hand.{name}" for name in limits.placeholder)
    shapes = ("collision.shapes",) if collision is not None and collision.placeholder else ()
    return (*names, *shapes)


def guards_motion(collision: Collision | None, limits: HandLimits | None) -> bool:
    """Whether the supervisor has to check where motions lead."""
    if collision is not None:
        return True
    return limits is not None and (limits.tool_speed, limits.workspace) != (None, None)


def interface_refusal(interface: str, collision: Collision | None, hand: HandLimits | None) -> str:
    """Say why this controller's arm cannot be checked as the file asks, or return ""."""
    if interface == "position" or not guards_motion(collision, hand):
        return ""
    return (
        "collision, hand.limits: not with controller.interface effort, since where efforts lead "
        "is not known before they are sent. Leave them out"
    )


def ignored(collision: Collision, one: str, other: str) -> bool:
    """Whether the file says that two bodies are not checked."""
    return (one, other) in collision.ignore or (other, one) in collision.ignore


def margin_between(collision: Collision, one: str, other: str) -> float:
    """Least distance of two bodies [m]."""
    own: Mapping[str, KeepOut] = collision.keep_out
    given = [own[name].margin for name in (one, other) if name in own]
    return next((margin for margin in given if margin is not None), collision.margin)

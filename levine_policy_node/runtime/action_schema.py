# SPDX-License-Identifier: Apache-2.0
"""The `action` part of `policy.yaml`: what the columns of an action are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from levine_policy_node.runtime.body_schema import (
    BodyTarget,
    PoseTarget,
    PositionTarget,
    RotationTarget,
)
from levine_policy_node.runtime.column_schema import Numbers, check_numbers
from levine_policy_node.runtime.observation_schema import (
    GripperEnds,
    GripperName,
    JointNames,
    Mask,
    Normalize,
    unique,
)
from levine_policy_node.strict_model import Strict

Effort = Annotated[float, Field(allow_inf_nan=False)]


class _JointColumns(Strict):
    """One column per joint."""

    names: JointNames
    scale: Numbers = 1.0
    offset: Numbers = 0.0

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.names)

    @model_validator(mode="after")
    def _check(self) -> _JointColumns:
        check_numbers(self.scale, self.offset, len(self.names))
        return self


class JointTarget(_JointColumns):
    """Columns of the action that are joint position targets [rad].

    `relative` targets are added to the positions measured with the observation; `delta` targets
    are steps, each from the row before and the first from those positions.
    """

    kind: Literal["target/joint/position"]
    mode: Literal["absolute", "relative", "delta"] = "absolute"


class VelocityTarget(_JointColumns):
    """Columns of the action that are joint velocities [rad/s], each for one row's period.

    They are summed up from where the arm is commanded to be; when the rows end, it brakes.
    """

    kind: Literal["target/joint/velocity"]


class EffortTarget(_JointColumns):
    """Columns of the action that are joint efforts [N m], each for one row's period.

    Attributes:
        clip: Smallest and largest effort, after scale and offset [N m]; the robot's own bounds
            hold besides.
    """

    kind: Literal["target/joint/effort"]
    clip: Annotated[tuple[Effort, Effort] | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _check_clip(self) -> EffortTarget:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip {list(self.clip)} must go from the smallest to the largest")
        return self


class GripperTarget(GripperEnds):
    """A column of the action that says how far a gripper is open.

    Attributes:
        binarize: Where the column switches: on the side of `closed` the gripper is closed whole,
            else open; None to follow it.
    """

    kind: Literal["target/gripper/position"]
    binarize: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @property
    def width(self) -> int:
        """Columns."""
        return 1

    @model_validator(mode="after")
    def _between(self) -> GripperTarget:
        low, high = sorted((self.closed, self.open))
        if self.binarize is not None and not low < self.binarize < high:
            raise ValueError(
                f"binarize {self.binarize:g} must be between closed {self.closed:g} and open "
                f"{self.open:g}"
            )
        return self


class GripperToggle(GripperEnds):
    """A column that closes or opens a gripper, or leaves it halfway between both (HIL-SERL).

    What it is told holds until it is told otherwise, over inferences, too.
    """

    kind: Literal["target/gripper/toggle"]
    closed: Annotated[float, Field(allow_inf_nan=False)] = -1.0

    @property
    def width(self) -> int:
        """Columns."""
        return 1


class GripperOpenClose(Strict):
    """A column that opens a gripper and one that closes it (QT-Opt); neither or both leave it.

    Attributes:
        binarize: An order is given above it.
    """

    kind: Literal["target/gripper/open_close"]
    names: GripperName = ()
    dim: Literal[2] = 2
    binarize: Annotated[float, Field(allow_inf_nan=False)] = 0.5

    @property
    def width(self) -> int:
        """Columns."""
        return 2


class Ignored(Strict):
    """Columns that nothing acts on.

    `policy/terminate`: who runs the episode ends it, not the policy. `target/base/velocity`: the
    base of a robot file's arm stands still.

    Attributes:
        binarize: Where the column switches, for who reads the document.
    """

    kind: Literal["policy/terminate", "target/base/velocity"]
    dim: Annotated[int, Field(gt=0, le=1024)] = 1
    binarize: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """No joint."""
        return ()

    @property
    def width(self) -> int:
        """Columns."""
        return self.dim


GripperPart = GripperTarget | GripperToggle | GripperOpenClose


def _part_tag(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)  # pyright: ignore
    return kind if isinstance(kind, str) else None


ActionPart = Annotated[
    Annotated[JointTarget, Tag("target/joint/position")]
    | Annotated[VelocityTarget, Tag("target/joint/velocity")]
    | Annotated[EffortTarget, Tag("target/joint/effort")]
    | Annotated[GripperTarget, Tag("target/gripper/position")]
    | Annotated[GripperToggle, Tag("target/gripper/toggle")]
    | Annotated[GripperOpenClose, Tag("target/gripper/open_close")]
    | Annotated[PositionTarget, Tag("target/body/position")]
    | Annotated[RotationTarget, Tag("target/body/rotation")]
    | Annotated[PoseTarget, Tag("target/body/pose")]
    | Annotated[Ignored, Tag("policy/terminate")]
    | Annotated[Ignored, Tag("target/base/velocity")],
    Discriminator(
        _part_tag,
        custom_error_type="action_kind",
        custom_error_message=(
            "supported: target/joint/(position|velocity|effort), "
            "target/body/(position|rotation|pose), target/gripper/(position|toggle|open_close), "
            "policy/terminate, target/base/velocity"
        ),
    ),
]


class ActionSpec(Strict):
    """The action's columns in order, and how they were normalised in training.

    Attributes:
        unnormalize_mask: Which columns were; the others come as they are (OpenVLA's gripper).
    """

    normalize: Normalize | None = None
    unnormalize_mask: Mask | None = None
    parts: Annotated[tuple[ActionPart, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> ActionSpec:
        unique(self.names)
        if self.unnormalize_mask is not None and self.normalize is None:
            raise ValueError("unnormalize_mask: needs normalize")
        for what in ("position", "rotation"):
            kinds = (f"target/body/{what}", "target/body/pose")
            if sum(part.kind in kinds for part in self.parts) > 1:
                raise ValueError(f"the {what} of the hand is given twice")
        if sum(isinstance(p, GripperPart) and not p.names for p in self.parts) > 1:
            raise ValueError("names: say which gripper is which joint")
        others = [p for p in self.parts if not isinstance(p, EffortTarget | Ignored)]
        if self.effort_names and others:
            raise ValueError(
                f"parts: efforts stand alone, since the arm has one controller; found "
                f"{others[0].kind} beside them"
            )
        return self

    @property
    def columns(self) -> int:
        """Columns of the action."""
        return sum(part.width for part in self.parts)

    @property
    def begins(self) -> tuple[int, ...]:
        """The first column of every part."""
        widths = [part.width for part in self.parts]
        return tuple(sum(widths[:i]) for i in range(len(widths)))

    @property
    def names(self) -> tuple[str, ...]:
        """Joints that parts name, in the order of their columns."""
        return tuple(name for part in self.parts for name in part.names)

    @property
    def body(self) -> tuple[BodyTarget, ...]:
        """Parts that move the hand."""
        return tuple(p for p in self.parts if isinstance(p, BodyTarget))

    @property
    def grippers(self) -> tuple[GripperPart, ...]:
        """Parts that move a gripper."""
        return tuple(p for p in self.parts if isinstance(p, GripperPart))

    @property
    def velocity_names(self) -> tuple[str, ...]:
        """Joints that are given as velocities."""
        return tuple(n for p in self.parts if isinstance(p, VelocityTarget) for n in p.names)

    @property
    def effort_names(self) -> tuple[str, ...]:
        """Joints that are given as efforts: all or none."""
        return tuple(n for p in self.parts if isinstance(p, EffortTarget) for n in p.names)

    @property
    def absolute(self) -> bool:
        """Whether every joint is told where to be, wherever it is now."""
        steps = any(isinstance(p, JointTarget) and p.mode != "absolute" for p in self.parts)
        return not (steps or self.body or self.velocity_names or self.effort_names)

    @property
    def obstacle(self) -> str:
        """Why joint targets cannot be turned into actions again, or ""."""
        if self.velocity_names:
            return "its actions are velocities, and do not say where the arm is to be"
        if self.effort_names:
            return "its actions are efforts, and do not say where the arm is to be"
        if any(isinstance(part, (GripperToggle, GripperOpenClose)) for part in self.parts):
            return "its gripper is told to open or close, not where to be"
        scales = [getattr(part, "scale", 1.0) for part in self.parts]
        if any(0.0 in (s if isinstance(s, tuple) else (s,)) for s in scales):
            return "a scale of its actions is 0, so they cannot be inverted"
        return ""

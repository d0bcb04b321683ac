# SPDX-License-Identifier: Apache-2.0
"""The `action` part of `policy.yaml`: what the columns of an action are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from levine_policy_node.runtime.observation_schema import (
    GripperEnds,
    JointNames,
    Mask,
    Normalize,
    Numbers,
    check_numbers,
    unique,
)
from levine_policy_node.strict_model import Strict


class JointTarget(Strict):
    """Columns of the action that are joint position targets [rad].

    `relative` targets are added to the positions measured with the observation; `delta` targets
    are steps, each from the row before and the first from those positions.
    """

    kind: Literal["target/joint/position"]
    names: JointNames
    mode: Literal["absolute", "relative", "delta"] = "absolute"
    scale: Numbers = 1.0
    offset: Numbers = 0.0

    @model_validator(mode="after")
    def _check(self) -> JointTarget:
        check_numbers(self.scale, self.offset, len(self.names))
        return self


class VelocityTarget(Strict):
    """Columns of the action that are joint velocities [rad/s], each for one row's period.

    They are summed up from where the arm is commanded to be; when the rows end, it brakes.
    """

    kind: Literal["target/joint/velocity"]
    names: JointNames
    scale: Numbers = 1.0
    offset: Numbers = 0.0

    @model_validator(mode="after")
    def _check(self) -> VelocityTarget:
        check_numbers(self.scale, self.offset, len(self.names))
        return self


class GripperTarget(GripperEnds):
    """A column of the action that says how far a gripper is open.

    Attributes:
        binarize: Where the column switches: on the side of `closed` the gripper is closed whole,
            else open; None to follow it.
    """

    kind: Literal["target/gripper/position"]
    binarize: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _between(self) -> GripperTarget:
        low, high = sorted((self.closed, self.open))
        if self.binarize is not None and not low < self.binarize < high:
            raise ValueError(
                f"binarize {self.binarize:g} must be between closed {self.closed:g} and open "
                f"{self.open:g}"
            )
        return self


def _part_tag(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)  # pyright: ignore
    return kind if isinstance(kind, str) else None


ActionPart = Annotated[
    Annotated[JointTarget, Tag("target/joint/position")]
    | Annotated[VelocityTarget, Tag("target/joint/velocity")]
    | Annotated[GripperTarget, Tag("target/gripper/position")],
    Discriminator(
        _part_tag,
        custom_error_type="action_kind",
        custom_error_message=(
            "supported: target/joint/position, target/joint/velocity, target/gripper/position. "
            "Efforts are not: an effort controller goes on pushing when commands stop, so the "
            "robot would need one with a command timeout of its own"
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
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Joint of every column."""
        return tuple(name for part in self.parts for name in part.names)

    @property
    def velocity_names(self) -> tuple[str, ...]:
        """Joints that are given as velocities."""
        return tuple(n for p in self.parts if isinstance(p, VelocityTarget) for n in p.names)

    @property
    def invertible(self) -> bool:
        """Whether joint targets can be turned into actions again."""
        scales = [p.scale for p in self.parts if not isinstance(p, GripperTarget)]
        return not any(0.0 in (s if isinstance(s, tuple) else (s,)) for s in scales)

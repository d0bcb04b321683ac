# SPDX-License-Identifier: Apache-2.0
"""The part of a robot file that is about one joint: its limits and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.position_based_velocity import PositionBasedVelocity
from levine_policy_node.strict_model import Strict

LimitName = Literal[
    "position", "velocity", "acceleration", "jerk", "effort", "position_based_velocity_limits"
]
Text = Annotated[str, Field(min_length=1)]

_NEEDED: tuple[LimitName, ...] = ("position", "velocity", "acceleration", "jerk")


class PositionBasedVelocityLimits(Strict):
    """Less velocity near the ends of the range; named as in libfranka and franka_description.

    Towards `upper` at most sqrt(2 deceleration_limit (upper - position)) - velocity_offset, and
    the mirror image towards `lower`. These are the ends that the formula is about, which are not
    the range of the joint.
    """

    velocity_offset: float = Field(ge=0)
    deceleration_limit: float = Field(gt=0)
    lower: float
    upper: float


class Joint(Strict):
    """One joint and its limits, in [rad] and [s] (metres for a prismatic joint).

    `closed` says at which end of `position` a gripper is closed. `position_margin` is for this
    joint instead of the robot's. `contact_effort` is measured, the weight of the arm included,
    where a policy pushes against something.
    """

    position: tuple[float, float] = Field(strict=False)
    position_margin: float | None = Field(default=None, ge=0)
    velocity: float = Field(gt=0)
    acceleration: float = Field(gt=0)
    jerk: float = Field(gt=0)
    effort: float | None = Field(default=None, gt=0)
    contact_effort: float | None = Field(default=None, gt=0)
    position_based_velocity_limits: PositionBasedVelocityLimits | None = None
    role: Literal["arm", "gripper"] = "arm"
    closed: Literal["lower", "upper"] = "lower"
    source: dict[LimitName, Text]
    placeholder: tuple[LimitName, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _check(self) -> Joint:
        if self.position[0] >= self.position[1]:
            raise ValueError(f"position: lower {self.position[0]} must be below upper")
        slower = self.position_based_velocity_limits
        needed = _NEEDED if slower is None else (*_NEEDED, "position_based_velocity_limits")
        missing = [name for name in needed if name not in self.source]
        if missing:
            raise ValueError(
                f"source: say where {', '.join(missing)} come(s) from (a data sheet, a URDF, or "
                "'chosen' together with an entry in placeholder)"
            )
        return self


def by_position(joints: Sequence[Joint]) -> PositionBasedVelocity | None:
    """The velocity limits that depend on the position, in joint order; None without any."""
    given = [joint.position_based_velocity_limits for joint in joints]
    if not any(given):
        return None
    return PositionBasedVelocity(
        offset=np.array([0.0 if g is None else g.velocity_offset for g in given]),
        deceleration=np.array([1.0 if g is None else g.deceleration_limit for g in given]),
        lower=np.array([-np.inf if g is None else g.lower for g in given]),
        upper=np.array([np.inf if g is None else g.upper for g in given]),
    )


def stuck_joint(limits: JointLimits) -> str:
    """Say which joint may reach a position where it is allowed too little velocity; else "".

    A joint that comes to rest by its jerk limit j from its acceleration limit a has the velocity
    a^2 / 2j meanwhile, which must be allowed wherever it may come to rest.
    """
    allowed = limits.by_position
    if allowed is None:
        return ""
    ends = np.minimum(allowed.upwards(limits.upper), allowed.downwards(limits.lower))
    needed = limits.acceleration**2 / (2.0 * limits.jerk)
    stuck = np.flatnonzero(~(ends >= needed))
    if len(stuck) == 0:
        return ""
    worst = int(stuck[0])
    return (
        f"{limits.names[worst]}.position: at its end, less the margin, "
        f"position_based_velocity_limits allows {ends[worst]:.3g} rad/s, and a stop needs "
        f"{needed[worst]:.3g}; narrow it"
    )

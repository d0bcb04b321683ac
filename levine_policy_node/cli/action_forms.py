# SPDX-License-Identifier: Apache-2.0
"""What the parts of an action do, in words."""

from __future__ import annotations

from levine_policy_node.runtime.action_schema import (
    ActionPart,
    EffortTarget,
    GripperOpenClose,
    GripperTarget,
    GripperToggle,
    Ignored,
    JointTarget,
    VelocityTarget,
)
from levine_policy_node.runtime.body_schema import BodyTarget, PositionTarget


def target_forms(part: ActionPart) -> list[tuple[str, str]]:
    """What is moved and how, one pair per joint."""
    if isinstance(part, JointTarget):
        return [(name, f"position, {part.mode} [rad]") for name in part.names]
    if isinstance(part, VelocityTarget):
        return [(name, "velocity, summed up [rad/s]") for name in part.names]
    if isinstance(part, EffortTarget):
        clipped = "" if part.clip is None else f", {part.clip[0]:g} .. {part.clip[1]:g} N m"
        return [(name, f"effort{clipped or ' [N m]'}") for name in part.names]
    if isinstance(part, Ignored):
        return [("none", f"{part.kind}, {part.dim} column(s), ignored")]
    if isinstance(part, BodyTarget):
        return [("hand", _hand_form(part))]
    return [(part.names[0] if part.names else "gripper", _gripper_form(part))]


def _hand_form(part: BodyTarget) -> str:
    what = part.kind.rsplit("/", 1)[-1]
    if part.axes is not None:
        what += f" {', '.join(part.axes)}"
    if not isinstance(part, PositionTarget):
        what += f" ({part.rotation})"
    along = "" if part.mode == "absolute" else f" along the axes of {part.frame}"
    unit = {"position": "[m]", "rotation": "[rad]"}.get(part.kind.rsplit("/", 1)[-1], "[m, rad]")
    return f"{what}, {part.mode}{along} {unit}"


def _gripper_form(part: GripperTarget | GripperToggle | GripperOpenClose) -> str:
    if isinstance(part, GripperOpenClose):
        return f"gripper, a column opens above {part.binarize:g}, one closes"
    ends = f"gripper, {part.closed:g} closed .. {part.open:g} open"
    if isinstance(part, GripperToggle):
        return f"{ends}, stays in between"
    return ends + ("" if part.binarize is None else f", switched at {part.binarize:g}")

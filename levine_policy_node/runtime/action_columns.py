# SPDX-License-Identifier: Apache-2.0
"""The columns of a document's action, for one robot."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.action_layout import ActionLayout, Gripper
from levine_policy_node.core.units import FloatArray
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.action_schema import ActionPart, GripperTarget
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_stats import ACTION
from levine_policy_node.runtime.preprocess import columns, gripper_line


def action_layout(bundle: Bundle, robot: Robot) -> ActionLayout:
    """What the columns of a bundle's actions are, in the joint order of a robot that it fits."""
    action = bundle.document.action
    lines = [_line(part, robot) for part in action.parts]
    modes = [
        getattr(part, "mode", "absolute") for part in action.parts for _ in range(len(part.names))
    ]
    return ActionLayout(
        normalization=bundle.normalizations.get(ACTION),
        scale=np.concatenate([scale for scale, _ in lines]),
        offset=np.concatenate([offset for _, offset in lines]),
        relative=np.array([mode == "relative" for mode in modes]),
        order=np.array([action.names.index(name) for name in robot.joint_names]),
        delta=np.array([mode == "delta" for mode in modes]) if "delta" in modes else None,
        grippers=tuple(
            Gripper(action.names.index(part.names[0]), part.closed, part.open, part.binarize)
            for part in action.parts
            if isinstance(part, GripperTarget)
        ),
    )


def _line(part: ActionPart, robot: Robot) -> tuple[FloatArray, FloatArray]:
    """Scale and offset of every column of a part."""
    count = len(part.names)
    if isinstance(part, GripperTarget):
        scale, offset = gripper_line(part, robot.gripper_ends()[part.names[0]])
        return columns(scale, count), columns(offset, count)
    return columns(part.scale, count), columns(part.offset, count)

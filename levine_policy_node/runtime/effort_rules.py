# SPDX-License-Identifier: Apache-2.0
"""What holds for policies of efforts: which chunks, which robots, and within which bounds."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.action_schema import ActionSpec, EffortTarget


def chunk_problem(action: ActionSpec, asked: dict[str, bool]) -> str:
    """Say what is asked for of chunks that is not for efforts, or return "".

    Args:
        action: Of the document.
        asked: By field of `chunk`, whether the document asks for it.
    """
    wrong = [field for field, wanted in asked.items() if wanted]
    if not action.effort_names or not wrong:
        return ""
    return (
        f"chunk.{wrong[0]} is not for efforts: each answers the state it was computed from, and a "
        "mixture answers none; leave it out"
    )


def interface_problem(action: ActionSpec, robot: Robot) -> tuple[str, str]:
    """Say that the policy gives what the robot does not take, and what to do; else "" twice."""
    gives = "effort" if action.effort_names else "position"
    takes = robot.controller.interface
    if gives == takes:
        return "", ""
    needs = " (which needs a command timeout of the robot's own)" if gives == "effort" else ""
    return (
        f"gives {gives}s, and the controller of robot {robot.name} takes {takes}s",
        f"Choose a robot file with controller.interface: {gives}{needs}",
    )


def effort_bounds(action: ActionSpec, robot: Robot) -> tuple[FloatArray, FloatArray] | None:
    """Smallest and largest effort the document allows, each (J,) [N m]; None for no efforts."""
    if not action.effort_names:
        return None
    clips = {
        name: part.clip or (-np.inf, np.inf)
        for part in action.parts
        if isinstance(part, EffortTarget)
        for name in part.names
    }
    low, high = np.array([clips[name] for name in robot.joint_names]).T
    return low, high

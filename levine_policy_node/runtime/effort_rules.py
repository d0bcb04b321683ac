# SPDX-License-Identifier: Apache-2.0
"""What holds for policies of efforts: which chunks, which robots, and within which bounds."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.action_schema import ActionSpec, EffortTarget
from levine_policy_node.runtime.chunk_schema import ChunkSpec


def check_chunk(action: ActionSpec, chunk: ChunkSpec) -> None:
    """Refuse what is asked for of chunks that is not for efforts.

    Raises:
        ValueError: With the first such field.
    """
    asked = {
        "merge": chunk.merge not in {None, "replace"},
        "smoothing": bool(chunk.smoothing),
        "ensemble": chunk.ensemble is not None,
        "hold": chunk.hold > 0.0,
    }
    wrong = [field for field, wanted in asked.items() if wanted]
    if action.effort_names and wrong:
        raise ValueError(
            f"chunk.{wrong[0]} is not for efforts: each answers the state it was computed from, "
            "and a mixture answers none; leave it out"
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

# SPDX-License-Identifier: Apache-2.0
"""Where the motions of benchmarks lead."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.robot import Robot

# How far from home, as a share of the range of the joints.
_REACH = 0.35


def pose_about_home(rng: np.random.Generator, robot: Robot) -> FloatArray:
    """A random pose about home within the range of the joints, shape (J,) [rad]."""
    limits, home = robot.limits(), robot.home_position()
    span = _REACH * (limits.upper - limits.lower)
    return np.clip(home + rng.uniform(-0.5, 0.5, len(home)) * span, limits.lower, limits.upper)

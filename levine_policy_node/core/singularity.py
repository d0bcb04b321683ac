# SPDX-License-Identifier: Apache-2.0
"""Cartesian motions go slowly where a small motion of the hand takes a large one of the joints.

How near that is, the condition number of the hand's Jacobian says, with metres and radians side by
side as in moveit_servo, which slows linearly between two of its values and only on the way in
(`velocityScalingFactorForSingularity` in moveit_servo/src/utils/common.cpp). There the motion ends
in a halt; here in a crawl, since a policy that is halted does not know the way out.
"""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import BoolArray, FloatArray

_CRAWL = 0.05


def condition(jacobian: FloatArray) -> float:
    """Largest over smallest singular value of a Jacobian (6, n); infinite at a singularity."""
    values = np.linalg.svd(jacobian, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0.0 else float("inf")


def progress(conditions: FloatArray, slow: float, stop: float) -> FloatArray:
    """How far along its rows a motion is to be at the time of each of them.

    Args:
        conditions: Where the motion begins and at each of T rows, shape (T + 1,).
        slow: From this condition number on the way in is slower.
        stop: From this one on it is a crawl.

    Returns:
        Rows that are behind it, shape (T,); 1, 2, ... where nothing is slowed.
    """
    share = np.clip((stop - conditions[1:]) / (stop - slow), _CRAWL, 1.0)
    outwards = conditions[1:] < conditions[:-1]
    # When each row is reached; between two of them the pace is that of the second.
    due = np.concatenate([[0.0], np.cumsum(np.where(outwards, 1.0, 1.0 / share))])
    rows = np.arange(len(due), dtype=np.float64)
    return np.asarray(np.interp(rows[1:], due, rows), dtype=np.float64)


def along(rows: FloatArray, reached: FloatArray, stepped: BoolArray) -> FloatArray:
    """The rows of a motion that is slowed.

    Args:
        rows: Where it begins and T rows, shape (T + 1, J) [rad].
        reached: Of `progress`, shape (T,).
        stepped: Joints (J,) that are at one row or the next and never in between.

    Returns:
        Shape (T, J) [rad].
    """
    before = np.minimum(reached.astype(np.intp), len(rows) - 2)
    share = (reached - before)[:, None]
    between = rows[before] + share * (rows[before + 1] - rows[before])
    nearest = rows[np.rint(reached).astype(np.intp)]
    return np.where(stepped, nearest, between)

# SPDX-License-Identifier: Apache-2.0
"""The C2 curve through the rows of a chunk."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from levine_policy_node.core.units import FloatArray


def cubic_knots(dt_s: float, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Velocities and accelerations of the C2 cubic spline through evenly spaced `rows`.

    The acceleration is constant in the first and the last interval (parabolic run-out): unlike
    a natural end, which forces it to zero, that adds no jerk of its own. With the positions the
    result makes the knots of a `Timeline`, whose quintics then are this cubic. Source: the
    tridiagonal system for the second derivatives, Press et al., Numerical Recipes, section 3.3.

    Args:
        dt_s: Time between rows [s].
        rows: Positions, shape (T, J) [rad], T >= 2.

    Returns:
        Velocities (T, J) [rad/s] and accelerations (T, J) [rad/s^2].
    """
    slopes = (rows[1:] - rows[:-1]) / dt_s
    accelerations = np.zeros_like(rows)
    if len(rows) > 2:
        inner = _inverse(len(rows) - 2) @ ((6.0 / dt_s) * (slopes[1:] - slopes[:-1]))
        accelerations[1:-1], accelerations[0], accelerations[-1] = inner, inner[0], inner[-1]
    # v_k = slope_k - h (2 a_k + a_{k+1}) / 6, and from the left at the last row.
    sixth = dt_s / 6.0
    velocities = np.empty_like(rows)
    velocities[:-1] = slopes - sixth * (2.0 * accelerations[:-1] + accelerations[1:])
    velocities[-1] = slopes[-1] + sixth * (accelerations[-2] + 2.0 * accelerations[-1])
    return velocities, accelerations


@lru_cache(maxsize=8)
def _inverse(count: int) -> FloatArray:
    """Inverse of the system for the accelerations of `count` inner rows; all chunks share it."""
    system = np.diag(np.full(count, 4.0))
    system += np.diag(np.ones(count - 1), 1) + np.diag(np.ones(count - 1), -1)
    system[0, 0] += 1.0
    system[-1, -1] += 1.0
    return np.linalg.inv(system)

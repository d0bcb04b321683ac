# SPDX-License-Identifier: Apache-2.0
"""The C2 curve through the rows of a chunk."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray


def cubic_knots(times_s: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Velocities and accelerations of the C2 cubic spline through `rows`.

    The acceleration is constant in the first and the last interval (parabolic run-out): unlike
    a natural end, which forces it to zero, that adds no jerk of its own. With the positions the
    result makes the knots of a `Timeline`, whose quintics then are this cubic. Source: the
    tridiagonal system for the second derivatives, Press et al., Numerical Recipes, section 3.3.

    Args:
        times_s: Row times, shape (T,) [s], strictly increasing, T >= 2.
        rows: Positions, shape (T, J) [rad].

    Returns:
        Velocities (T, J) [rad/s] and accelerations (T, J) [rad/s^2].
    """
    count = len(times_s)
    spans = np.diff(times_s)
    slopes = np.diff(rows, axis=0) / spans[:, None]
    accelerations = np.zeros_like(rows)
    if count > 2:
        system = np.diag(2.0 * (spans[:-1] + spans[1:]))
        system += np.diag(spans[1:-1], 1) + np.diag(spans[1:-1], -1)
        system[0, 0] += spans[0]
        system[-1, -1] += spans[-1]
        accelerations[1:-1] = np.linalg.solve(system, 6.0 * np.diff(slopes, axis=0))
        accelerations[0], accelerations[-1] = accelerations[1], accelerations[-2]
    # v_k = slope_k - h (2 a_k + a_{k+1}) / 6, and from the left at the last row.
    h = spans[:, None]
    velocities = np.empty_like(rows)
    velocities[:-1] = slopes - h * (2.0 * accelerations[:-1] + accelerations[1:]) / 6.0
    velocities[-1] = slopes[-1] + h[-1] * (accelerations[-2] + 2.0 * accelerations[-1]) / 6.0
    return velocities, accelerations

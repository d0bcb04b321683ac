# SPDX-License-Identifier: Apache-2.0
"""Switching joints, such as a gripper that opens or closes from one row to the next.

A spline through a switch overshoots, and slowing the whole arm until the switch fits the limits
would be wrong. Each change of a row becomes a quintic step that begins at that row's time.
"""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import JointPoint, quintic_coefficients
from levine_policy_node.core.units import FloatArray

# Peaks of the quintic step from 0 to 1 over one second (Flash and Hogan, 1985).
_PEAKS = (1.875, 5.7735026919, 60.0)
_LONGER = 1.25


def step_time(times_s: FloatArray, rows: FloatArray, joint: int, limits: JointLimits) -> float:
    """Shortest common length of the steps of one joint that fits its limits [s].

    Args:
        times_s: Row times (T,) [s].
        rows: Shape (T, J) [rad].
        joint: Column of `rows`.
        limits: What the arm may be asked to do.
    """
    begins, change = times_s[1:], np.abs(np.diff(rows[:, joint]))
    bounds = (limits.velocity[joint], limits.acceleration[joint], limits.jerk[joint])

    def fits(length_s: float) -> bool:
        # Steps that overlap add up, at most.
        open_from = np.searchsorted(begins, begins - length_s, side="right")
        sums = np.concatenate([[0.0], np.cumsum(change)])
        together = float(np.max(sums[1:] - sums[open_from]))
        return all(
            peak * together / length_s**order <= bound
            for order, (peak, bound) in enumerate(zip(_PEAKS, bounds, strict=True), 1)
        )

    length_s = 0.02
    while not fits(length_s):
        length_s *= _LONGER
    return length_s


def stepped(
    times_s: FloatArray, row_values: FloatArray, length_s: float, at_s: FloatArray
) -> FloatArray:
    """Position, velocity and acceleration of one joint at the times `at_s`, shape (3, K).

    Between the times of all begins and ends of steps the result is one quintic.

    Args:
        times_s: Row times (T,) [s].
        row_values: Target of each row (T,) [rad]; a change begins at the row that has the new one.
        length_s: Length of every step [s].
        at_s: Shape (K,) [s].
    """
    zero = JointPoint.at_rest(np.zeros(1))
    c = quintic_coefficients(zero, JointPoint.at_rest(np.ones(1)), 1.0)[:, 0]
    u = np.clip((at_s[:, None] - times_s[1:]) / length_s, 0.0, 1.0)
    inside = (u > 0.0) & (u < 1.0)
    step = u**3 * (c[3] + u * (c[4] + u * c[5]))
    speed = np.where(inside, u**2 * (3 * c[3] + u * (4 * c[4] + u * 5 * c[5])), 0.0)
    bend = np.where(inside, u * (6 * c[3] + u * (12 * c[4] + u * 20 * c[5])), 0.0)
    change = np.diff(row_values)
    return np.array(
        [
            row_values[0] + step @ change,
            speed @ change / length_s,
            bend @ change / length_s**2,
        ]
    )

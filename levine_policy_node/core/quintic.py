# SPDX-License-Identifier: Apache-2.0
"""The quintic between two points: its coefficients, its values and its extrema."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.units import FloatArray


@dataclass(frozen=True, slots=True)
class JointPoint:
    """Position, velocity and acceleration of every joint at one instant, each (J,)."""

    position: FloatArray
    velocity: FloatArray
    acceleration: FloatArray

    @staticmethod
    def at_rest(position: FloatArray) -> JointPoint:
        """A point that stands still at `position` (J,) [rad]."""
        held = np.array(position, dtype=np.float64)
        return JointPoint(held, np.zeros_like(held), np.zeros_like(held))


def quintic_coefficients(
    begin: JointPoint, end: JointPoint, span_s: float | FloatArray
) -> FloatArray:
    """Coefficients of the quintic between two points, shape (6, ..., J), lowest power first.

    The closed form of the quintic Hermite interpolant, as in joint_trajectory_controller's
    `trajectory.cpp` (`interpolate_between_points`).
    """
    t = span_s
    p0, v0, a0 = begin.position, begin.velocity, begin.acceleration
    p1, v1, a1 = end.position, end.velocity, end.acceleration
    d = p1 - p0
    return np.stack(
        [
            p0,
            v0,
            0.5 * a0,
            (20 * d - (8 * v1 + 12 * v0) * t - (3 * a0 - a1) * t**2) / (2 * t**3),
            (-30 * d + (14 * v1 + 16 * v0) * t + (3 * a0 - 2 * a1) * t**2) / (2 * t**4),
            (12 * d - 6 * (v1 + v0) * t + (a1 - a0) * t**2) / (2 * t**5),
        ]
    )


def hermite(t: float, h: float) -> FloatArray:
    """Weights (3, 5) of displacement, v0, a0, v1 and a1 in what a quintic reaches at `t` of `h`.

    The rows give displacement, velocity and acceleration; the same polynomial as
    `quintic_coefficients`, in the form that takes the least work for a single instant.
    """
    u = t / h
    x = 1.0 - u
    uu, xx = u * u, x * x
    slope, bend = 30.0 * uu * xx, 60.0 * u * x * (1.0 - 2.0 * u)
    return np.array(
        [
            [
                uu * u * (10.0 + u * (6.0 * u - 15.0)),
                h * u * (1.0 + uu * (u * (8.0 - 3.0 * u) - 6.0)),
                h * h * 0.5 * uu * xx * x,
                h * uu * u * (u * (7.0 - 3.0 * u) - 4.0),
                h * h * 0.5 * uu * u * xx,
            ],
            [
                slope / h,
                1.0 + uu * (u * (32.0 - 15.0 * u) - 18.0),
                h * 0.5 * u * xx * (2.0 - 5.0 * u),
                uu * (u * (28.0 - 15.0 * u) - 12.0),
                h * 0.5 * uu * x * (3.0 - 5.0 * u),
            ],
            [
                bend / (h * h),
                u * (u * (96.0 - 60.0 * u) - 36.0) / h,
                1.0 + u * (u * (18.0 - 10.0 * u) - 9.0),
                u * (u * (84.0 - 60.0 * u) - 24.0) / h,
                u * (3.0 + u * (10.0 * u - 12.0)),
            ],
        ]
    )


def _weights() -> FloatArray:
    """What powers of t / h make of the ends of a segment in the form of `hermite`, (6, 15).

    The columns are those of displacement, h v and h^2 a, each for displacement, h v0, h^2 a0,
    h v1 and h^2 a1.
    """
    zero, one = np.zeros(5), np.eye(5)
    begin, end = JointPoint(zero, one[1], one[2]), JointPoint(one[0], one[3], one[4])
    c = quintic_coefficients(begin, end, 1.0)
    n = np.arange(6)[:, None]
    slope = np.vstack([n[1:] * c[1:], zero])
    bend = np.vstack([n[2:] * n[1:-1] * c[2:], zero, zero])
    return np.hstack([c, slope, bend])


WEIGHTS = _weights()
"""See `_weights`."""


def coefficient_peaks(
    c: FloatArray, spans: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Exact largest absolute velocity, acceleration and jerk of quintics, each (K-1, J).

    Args:
        c: From `quintic_coefficients`, shape (6, K-1, J).
        spans: Their lengths (K-1, 1) [s].
    """
    jerk_at = np.stack([np.zeros_like(c[0]), _vertex(c, spans), spans + 0 * c[0]])
    jerk_roots = _jerk_roots(c, spans)
    acceleration_at = np.concatenate([jerk_at[[0, 2]], jerk_roots])
    brackets = np.sort(acceleration_at, axis=0)
    velocity_at = np.concatenate([jerk_at[[0, 2]], _acceleration_roots(c, brackets)])
    return (
        np.abs(_velocity(c, velocity_at)).max(axis=0),
        np.abs(_acceleration(c, acceleration_at)).max(axis=0),
        np.abs(_jerk(c, jerk_at)).max(axis=0),
    )


def _velocity(c: FloatArray, t: float | FloatArray) -> FloatArray:
    return c[1] + t * (2 * c[2] + t * (3 * c[3] + t * (4 * c[4] + t * 5 * c[5])))


def _acceleration(c: FloatArray, t: float | FloatArray) -> FloatArray:
    return 2 * c[2] + t * (6 * c[3] + t * (12 * c[4] + t * 20 * c[5]))


def _jerk(c: FloatArray, t: float | FloatArray) -> FloatArray:
    return 6 * c[3] + t * (24 * c[4] + t * 60 * c[5])


def _vertex(c: FloatArray, spans: FloatArray) -> FloatArray:
    """Time of the extremum of each quadratic jerk, clipped into its segment."""
    flat = c[5] == 0.0
    vertex = np.where(flat, 0.0, -c[4] / np.where(flat, 1.0, 5 * c[5]))
    return np.clip(vertex, 0.0, spans)


def _jerk_roots(c: FloatArray, spans: FloatArray) -> FloatArray:
    """Both roots of each quadratic jerk, clipped into the segment, shape (2, K-1, J).

    A clipped root is an end of the segment, which is a candidate anyway.
    """
    constant, linear, square = 6 * c[3], 24 * c[4], 60 * c[5]
    discriminant = np.sqrt(np.maximum(linear**2 - 4 * square * constant, 0.0))
    # The form without cancellation (Numerical Recipes 5.6) also covers square == 0.
    q = -0.5 * (linear + np.where(linear >= 0, 1.0, -1.0) * discriminant)
    first = np.where(square == 0, 0.0, q / np.where(square == 0, 1.0, square))
    second = np.where(q == 0, 0.0, constant / np.where(q == 0, 1.0, q))
    return np.clip(np.stack([first, second]), 0.0, spans)


def _acceleration_roots(c: FloatArray, brackets: FloatArray) -> FloatArray:
    """Where each cubic acceleration crosses zero, shape (3, K-1, J).

    Between neighbouring `brackets` (4, K-1, J) the acceleration is monotone, so bisection finds
    the only crossing; without one it converges to an end, a candidate anyway.
    """
    low, high = brackets[:-1].copy(), brackets[1:].copy()
    rising = _acceleration(c, high) > _acceleration(c, low)
    for _ in range(40):
        middle = 0.5 * (low + high)
        past = (_acceleration(c, middle) > 0) == rising
        high = np.where(past, middle, high)
        low = np.where(past, low, middle)
    return 0.5 * (low + high)

# SPDX-License-Identifier: Apache-2.0
"""Bezier control points of quintic segments: a polynomial never leaves their hull.

Source: Farin, Curves and Surfaces for CAGD, section 4.3 (convex hull property) and section 4.2
(subdivision by de Casteljau).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb

import numpy as np

from levine_policy_node.core.units import FloatArray


def _control_matrix() -> FloatArray:
    position = np.array(
        [
            [1, 0, 0, 0, 0, 0],
            [1, 1 / 5, 0, 0, 0, 0],
            [1, 2 / 5, 1 / 20, 0, 0, 0],
            [0, 0, 0, 1, -2 / 5, 1 / 20],
            [0, 0, 0, 1, -1 / 5, 0],
            [0, 0, 0, 1, 0, 0],
        ]
    )
    velocity = 5 * np.diff(position, axis=0)
    acceleration = 4 * np.diff(velocity, axis=0)
    return np.vstack([position, velocity, acceleration, 3 * np.diff(acceleration, axis=0)])


CONTROL = _control_matrix()
"""Control points (18, 6) of a segment of length h from p, h v and h^2 a at both its ends.

Six of the position, five of h v, four of h^2 a and three of h^3 j.
"""

KIND_ROWS = (slice(0, 6), slice(6, 11), slice(11, 15), slice(15, 18))
"""Rows of `CONTROL` of position, velocity, acceleration and jerk."""


def _square_weights() -> FloatArray:
    """What products of control points of a quartic weigh in those of its square, (9, 25)."""
    weights = np.zeros((9, 5, 5))
    for i in range(5):
        for j in range(5):
            weights[i + j, i, j] = comb(4, i) * comb(4, j) / comb(8, i + j)
    return weights.reshape(9, 25)


def _elevation() -> FloatArray:
    """From the control points of a quintic to those of the same curve with degree 8, (9, 6)."""
    rows = [
        [comb(5, i) * comb(3, k - i) if 0 <= k - i <= 3 else 0 for i in range(6)] for k in range(9)
    ]
    return np.array(rows) / np.array([[comb(8, k)] for k in range(9)])


_SQUARE = _square_weights()
_ELEVATION = _elevation()


def squared(points: FloatArray) -> FloatArray:
    """Control points (9, ...) of the square of quartics (5, ...); Farin, section 6.11."""
    products = points[:, None] * points[None]
    return (_SQUARE @ products.reshape(25, -1)).reshape(9, *points.shape[1:])


def elevated(points: FloatArray) -> FloatArray:
    """Control points (9, ...) of quintics (6, ...) as curves of degree 8; Farin, section 6.1."""
    return (_ELEVATION @ points.reshape(6, -1)).reshape(9, *points.shape[1:])


def split(points: FloatArray, times: int) -> FloatArray:
    """Halve every curve `times` times: control points (S, N, J) to (2**times, S, N, J)."""
    size = len(points)
    halved = _halvings(size, times) @ points.reshape(size, -1)
    return halved.reshape(-1, *points.shape)


@lru_cache(maxsize=16)
def _halvings(size: int, times: int) -> FloatArray:
    """De Casteljau's halvings as a matrix (2**times S, S)."""
    pieces = [np.eye(size)]
    for _ in range(times):
        pieces = [half for piece in pieces for half in _halves(piece)]
    return np.vstack(pieces)


def _halves(row: FloatArray) -> tuple[FloatArray, FloatArray]:
    left, right = [row[0]], [row[-1]]
    while len(row) > 1:
        row = 0.5 * (row[1:] + row[:-1])
        left.append(row[0])
        right.append(row[-1])
    return np.array(left), np.array(right[::-1])

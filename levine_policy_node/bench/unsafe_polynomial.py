# SPDX-License-Identifier: Apache-2.0
"""Quintics of many segments and joints at once, with their extrema; for the judge of commands.

Imports nothing of this package, so that no mistake is made twice.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BISECTIONS = 40


def coefficients(h: Floats, ends: Floats) -> Floats:
    """Coefficients (6, N, J) of powers of u = t/h from p, v, a at both ends (6, N, J)."""
    p0, v0, a0, p1, v1, a1 = ends
    t = h[:, None]
    jump = (p1 - p0) - t * v0 - t * t * a0 * 0.5
    turn = t * (v1 - v0) - t * t * a0
    bend = t * t * (a1 - a0)
    return np.stack(
        [
            p0,
            t * v0,
            t * t * a0 * 0.5,
            10.0 * jump - 4.0 * turn + 0.5 * bend,
            -15.0 * jump + 7.0 * turn - bend,
            6.0 * jump - 3.0 * turn + 0.5 * bend,
        ]
    )


def value(c: Floats, u: Floats, order: int) -> Floats:
    """A derivative with respect to u, by Horner's rule; `u` is one number or (N, J)."""
    found = np.zeros_like(c[0])
    for n in range(5, order - 1, -1):
        factor = float(np.prod(np.arange(n - order + 1, n + 1)))
        found = found * u + factor * c[n]
    return found


def edges(c: Floats) -> list[Floats]:
    """Both ends of each segment, as points of it."""
    return [np.zeros_like(c[0]), np.ones_like(c[0])]


def largest(c: Floats, points: list[Floats], order: int) -> Floats:
    """Largest magnitude of a derivative at these points (each (N, J)), shape (N, J)."""
    return np.max([np.abs(value(c, u, order)) for u in points], axis=0)


def vertex(c: Floats) -> Floats:
    """Where the jerk, a parabola, turns; any point of the segment if it does not."""
    with np.errstate(all="ignore"):
        u = -c[4] / (5.0 * c[5])
    return np.clip(np.nan_to_num(u, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)


def jerk_roots(c: Floats) -> list[Floats]:
    """Where the acceleration turns, in order: roots of 6 c3 + 24 c4 u + 60 c5 u^2."""
    a, b, k = 60.0 * c[5], 24.0 * c[4], 6.0 * c[3]
    with np.errstate(all="ignore"):
        q = -0.5 * (b + np.copysign(np.sqrt(np.maximum(b * b - 4.0 * a * k, 0.0)), b))
        pair = np.stack([q / a, k / q])
    pair = np.clip(np.nan_to_num(pair, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)
    return list(np.sort(pair, axis=0))


def roots(c: Floats, turns: list[Floats], order: int) -> list[Floats]:
    """Roots of a derivative that is monotone between its turns; an end where there is none."""
    begins, ends = edges(c)
    points = [begins, *turns, ends]
    found: list[Floats] = []
    for begin, end in itertools.pairwise(points):
        low, high = begin.copy(), end.copy()
        falling = value(c, low, order) > value(c, high, order)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            below = (value(c, middle, order) < 0.0) != falling
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        found.append(high)
    return found

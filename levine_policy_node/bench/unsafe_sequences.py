# SPDX-License-Identifier: Apache-2.0
"""Random windows and runs of single positions, with every joint about one of its limits.

Many at once, as arrays: N sequences of J joints. How far from a limit is drawn for each sequence:
1e-1 to 1e-16 of it, short of it or beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import FloatArray

TICKS = 12
"""Single positions of a run, besides those before."""

_MS = 1_000_000
_BEFORE = 3
_STRANGE = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e12, 5e-324)
_SPOILED, _STRANGE_SHARE = 0.25, 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """N windows of K knots.

    Attributes:
        knots_ns: From the start of each, (N, K) whole nanoseconds.
        positions: (N, K, J), and so on.
    """

    knots_ns: npt.NDArray[np.int64]
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """N runs of T single positions, the first three of an arm that stands or moves evenly.

    Attributes:
        times_ns: (N, T), increasing.
        positions: (N, T, J).
    """

    times_ns: npt.NDArray[np.int64]
    positions: FloatArray


def random_windows(rng: np.random.Generator, limits: JointLimits, count: int) -> Windows:
    """Windows that end at rest, as what has constant jerk between two knots, most of them.

    Each joint is as fast, quick or rough at its knots as its limits allow, and somewhere in its
    range, every fifth at the end of it.
    """
    knots, joints = int(rng.integers(2, 13)), len(limits.names)
    spans_ns = _spans(rng, (count, knots - 1))
    spans = spans_ns * 1e-9
    shape = (knots, count, joints)
    p, v, a, j = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    jerks = limits.jerk * _often_extreme(rng, (knots - 1, count, joints))
    for k in range(knots - 2, -1, -1):
        h, j[k] = spans[:, k, None], jerks[k]
        # Back from the end, where it rests.
        a[k] = a[k + 1] - j[k] * h
        v[k] = v[k + 1] - a[k] * h - j[k] * h**2 / 2.0
        p[k] = p[k + 1] - v[k] * h - a[k] * h**2 / 2.0 - j[k] * h**3 / 6.0
    used = [np.abs(v) / limits.velocity, np.abs(a) / limits.acceleration, np.abs(j) / limits.jerk]
    share = _about(rng, count) / np.maximum(np.max(used, axis=(0, 1)), 1e-300)
    p, v, a = (value * share for value in (p, v, a))
    p += _where(rng, limits, p.min(axis=0), p.max(axis=0))
    knots_ns = np.concatenate([np.zeros((count, 1), np.int64), spans_ns.cumsum(axis=1)], axis=1)
    values = [value.swapaxes(0, 1).copy() for value in (p, v, a)]
    _spoil(rng, values, limits)
    return Windows(knots_ns, *values)


def random_runs(rng: np.random.Generator, limits: JointLimits, count: int) -> Runs:
    """Positions whose third differences are at the limit of the jerk, and the others within."""
    joints, size = len(limits.names), _BEFORE + TICKS
    gaps_ns = np.full((count, size), 10 * _MS)
    uneven = rng.random((count, 1)) < 0.7
    gaps_ns = np.where(uneven, gaps_ns + rng.integers(-_MS, _MS, gaps_ns.shape), gaps_ns)
    late = rng.random(gaps_ns.shape) < 0.05
    gaps_ns = np.where(late, _spans(rng, gaps_ns.shape), gaps_ns)
    times_ns = gaps_ns.cumsum(axis=1)
    t = times_ns * 1e-9
    p = np.zeros((size, count, joints))
    steps = _often_extreme(rng, (size, count, joints)) * limits.jerk
    limit = _about(rng, count)
    fastest = limits.velocity * limit
    first = fastest * _often_extreme(rng, (count, joints)) * (rng.random((count, 1)) < 0.5)
    second = np.zeros((count, joints))
    for k in range(1, _BEFORE):
        p[k] = p[k - 1] + first * (t[:, k] - t[:, k - 1])[:, None]
    for k in range(_BEFORE, size):
        span = [(t[:, k] - t[:, k - n])[:, None] for n in (1, 2, 3)]
        # Divided differences of first and second order: velocity, and half the acceleration.
        most = 0.5 * limits.acceleration * limit
        newest = np.clip(second + steps[k] / 6.0 * limit * span[2], -most, most)
        velocity = first + newest * span[1]
        first, second = np.clip(velocity, -fastest, fastest), newest
        p[k] = p[k - 1] + first * span[0]
    p += _where(rng, limits, p.min(axis=0), p.max(axis=0))
    positions = p.swapaxes(0, 1).copy()
    _spoil(rng, [positions[:, _BEFORE:]], limits)
    return Runs(times_ns, positions)


def _spans(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Whole nanoseconds, from a microsecond to half a second, most of them not the shortest."""
    short = rng.random(shape) < 0.05
    exponents = np.where(short, rng.uniform(3.0, 6.0, shape), rng.uniform(5.3, 8.7, shape))
    return np.rint(10.0**exponents).astype(np.int64)


def _often_extreme(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Shares of -1 to 1, every second of them one of both."""
    shares = rng.uniform(-1.0, 1.0, shape)
    return np.where(rng.random(shape) < 0.5, np.sign(shares), shares)


def _about(rng: np.random.Generator, count: int) -> FloatArray:
    """1 and a little more or less, (count, 1)."""
    little = rng.choice([-1.0, -1.0, 0.0, 1.0], (count, 1)) * 10.0 ** -rng.uniform(
        1.0, 16.0, (count, 1)
    )
    return 1.0 + little


def _where(
    rng: np.random.Generator, limits: JointLimits, low: FloatArray, high: FloatArray
) -> FloatArray:
    """What to add (N, J) so that motions from `low` to `high` lie somewhere in the range."""
    room = np.maximum((limits.upper - limits.lower) - (high - low), 0.0)
    share = rng.uniform(0.0, 1.0, low.shape)
    at_end = rng.random(low.shape) < 0.2
    share = np.where(at_end, np.round(share), share)
    beyond = np.where(at_end, (_about(rng, len(low)) - 1.0) * (2.0 * share - 1.0), 0.0)
    return limits.lower - low + share * room + beyond


def _spoil(rng: np.random.Generator, values: list[FloatArray], limits: JointLimits) -> None:
    """Change one number of some sequences, in place."""
    count, rows, joints = values[0].shape
    sizes = (limits.upper - limits.lower, limits.velocity, limits.acceleration)
    kinds = rng.integers(len(values), size=count)
    row, joint = rng.integers(rows, size=count), rng.integers(joints, size=count)
    chance = rng.random(count)
    for i in np.flatnonzero(chance < _SPOILED):
        at = (i, row[i], joint[i])
        if chance[i] < _STRANGE_SHARE:
            values[kinds[i]][at] = rng.choice(_STRANGE)
        else:
            little = rng.choice([-1.0, 1.0]) * 10.0 ** -rng.uniform(0.0, 15.0)
            values[kinds[i]][at] += sizes[kinds[i]][joint[i]] * little

# SPDX-License-Identifier: Apache-2.0
"""Switching joints, such as a gripper that opens or closes from one row to the next.

A spline through a switch overshoots, and slowing the whole arm until the switch fits the limits
would be wrong. So a switching joint holds each row from halfway to the row before until halfway
to the row after, and every change is a quintic step (Flash and Hogan, 1985), as long as the
limits of the joint ask and centred on the change. A slow joint that switches at once begins a
tenth of a second before it: a gripper must not close long before its row. Steps of one length
that follow each other never leave the range of the rows: their sum is an average of the rows
with weights that are not negative.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from levine_policy_node.core.bezier import CONTROL, KIND_ROWS, split
from levine_policy_node.core.units import FloatArray

# Lengths that are tried [rows]. Odd ones begin and end on rows and need no knots of their own;
# from three rows on, steps of rows that change one after the other join into a steady motion.
_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 21, 27, 35, 45, 57, 73, 93, 119, 151)
_STEADY = 3
# How long before a change its step may begin.
_EARLY_S = 0.1
# Shares of the velocity, acceleration and jerk limit that steps may take, so that they can be
# merged with what is being played.
_SHARES = np.array([0.95, 0.8, 0.8])
# Each half interval is judged in this many halvings, which brings control points to the curve.
_SPLITS = 2
_KINDS = [0, 5 * 2 ** (_SPLITS + 1), 9 * 2 ** (_SPLITS + 1)]


def step_shape(rows: FloatArray, dt_s: float, bounds: FloatArray) -> tuple[int, int]:
    """Shortest length of the steps of one joint that fits its limits, and how late they come.

    Args:
        rows: Targets of the joint (T,) [rad].
        dt_s: Time between rows [s].
        bounds: Velocity, acceleration and jerk limit (3,).

    Returns:
        Length [rows], and delay [half rows]. Rows that change one after the other are a motion,
        which has no delay.
    """
    change = np.sign(rows[1:] - rows[:-1])
    steady = bool((change[1:] * change[:-1] > 0.0).any())
    allowed = _SHARES * bounds * (0.5 * dt_s) ** np.arange(1.0, 4.0)
    length = _LENGTHS[-1]
    for tried in _LENGTHS:
        if steady and (tried < _STEADY or tried % 2 == 0):
            continue
        # The first steps may begin before the first row.
        held = rows if steady else np.concatenate([np.full(tried // 2 + 1, rows[0]), rows])
        peaks = np.abs(_windows(held, tried) @ _filters(tried)[1]).max(axis=0)
        if (np.maximum.reduceat(peaks, _KINDS) <= allowed).all():
            length = tried
            break
    early = max(1, int(2.0 * _EARLY_S / dt_s))
    return length, 0 if steady else max(0, length - early)


def stepped(
    rows: FloatArray, dt_s: float, length: int, late: int = 0
) -> tuple[FloatArray, np.ndarray]:
    """The steps of one joint, every half row from one row before the first to the last.

    Between these times the result is one quintic.

    Args:
        rows: Targets of the joint (T,) [rad].
        dt_s: Time between rows [s].
        length: Length of a step [rows].
        late: How much after the change its middle is [half rows].

    Returns:
        Position, velocity and acceleration (3, 2 T + 1), and a mask (2 T + 1,) of the times at
        which a step begins or ends.
    """
    count, more = 2 * len(rows) + 1, (late + 1) // 2
    held = np.concatenate([np.full(more, rows[0]), rows])
    made = _windows(held, length) @ _filters(length)[0]
    half_s = 0.5 * dt_s
    scale = (1.0, 1.0 / half_s, 1.0 / half_s**2)
    found = np.empty((3, 2 * len(held) + 1))
    for kind in range(3):
        found[kind, :-1] = scale[kind] * made[:, 2 * kind : 2 * kind + 2].reshape(-1)
        found[kind, -1] = scale[kind] * made[-1, 6 + kind]
    marks = np.zeros(count, dtype=bool)
    # The change to row i is halfway between two rows, at half row 2 i + 1.
    changes = 2 * np.flatnonzero(rows[1:] != rows[:-1]) + 3 + late
    for edge in (changes - length, changes + length):
        marks[edge[(edge >= 0) & (edge < count)]] = True
    begin = 2 * more - late
    return found[:, begin : begin + count], marks


def _windows(rows: FloatArray, length: int) -> FloatArray:
    """For each interval before a row, the rows its steps come from, shape (T, taps)."""
    reach = length // 2 + 1
    return rows[_indices(len(rows), reach)]


@lru_cache(maxsize=32)
def _indices(count: int, reach: int) -> np.ndarray:
    """Rows of each window (T, taps); beyond the ends it is the first or the last row."""
    around = np.arange(count)[:, None] + np.arange(-1 - reach, reach + 1)
    return np.clip(around, 0, count - 1)


@lru_cache(maxsize=32)
def _filters(length: int) -> tuple[FloatArray, FloatArray]:
    """What steps of `length` rows make of the rows around an interval, in half rows as time.

    Returns:
        Position, velocity and acceleration at the begin and in the middle of the interval, then
        all three at its end, (taps, 9); and control points of velocity, acceleration and jerk
        between them, (taps, M), where `_KINDS` says which columns belong to which.
    """
    reach = length // 2 + 1
    rows = np.arange(-1 - reach, reach + 1)
    at = np.array([-1.0, -0.5, 0.0])
    u = np.clip((at[:, None] - (np.append(rows, reach + 1) - 0.5)) / length + 0.5, 0.0, 1.0)
    step = np.array(
        [
            u**3 * (10.0 + u * (6.0 * u - 15.0)),
            30.0 * u**2 * (1.0 - u) ** 2 * (0.5 / length),
            60.0 * u * (1.0 - u) * (1.0 - 2.0 * u) * (0.5 / length) ** 2,
        ]
    )
    # A row counts from the step to it until the step away from it.
    weights = step[:, :, :-1] - step[:, :, 1:]
    values = np.concatenate([weights[:, :2].reshape(6, -1), weights[:, 2]])
    ends = np.concatenate([weights[:, :-1], weights[:, 1:]])
    points = np.tensordot(CONTROL, ends, axes=1)
    fine = [split(points[kind], _SPLITS).reshape(-1, len(rows)) for kind in KIND_ROWS[1:]]
    return values.T, np.concatenate(fine).T

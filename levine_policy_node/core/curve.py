# SPDX-License-Identifier: Apache-2.0
"""The curve through the rows of a chunk that are still due, slowed until it fits the limits."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits, joints_outside
from levine_policy_node.core.position_based_velocity import PositionBasedVelocity
from levine_policy_node.core.spline import cubic_knots
from levine_policy_node.core.stepped import step_shape, stepped
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, StampNs

SHORTEST_S = 1e-3
"""A row due sooner than this after the seam counts as passed; rounding would be its jerk [s]."""

MAX_STRETCH = 4.0
_ATTEMPTS = 4
# Share of a switching joint's range that steps keep from its ends, for when they are merged.
_END_ROOM = 1e-4
# `core/limits.py` bounds a velocity from above, by less than this.
_MARGIN = 1.001


def curve_through(
    chunk: ActionChunk,
    seam_ns: StampNs,
    first_s: float,
    limits: JointLimits,
    discrete: np.ndarray,
) -> tuple[Timeline[StampNs], float, np.ndarray]:
    """The C2 curve through the rows from the seam to the last, within the limits if possible.

    Rows that have passed are not played, but the curve is that through all rows. Where it is too
    fast for a joint that does not switch, all joints are slowed together, so that the path stays
    the same. Near the end of a joint's range rows are moved inwards until the curve through them
    does not leave the range.

    Args:
        chunk: Joint targets, smoothed and within the range.
        seam_ns: When the curve begins.
        first_s: When the first row must be sent, after the seam [s]; at most one period.
        limits: What the arm may be asked to do.
        discrete: Mask (J,) of the joints that switch.

    Returns:
        The curve, by how much it is slower than the rows say, and a mask (J,) of the joints that
        are too fast all the same, or leave their range.
    """
    dt_s, count = chunk.dt_s, len(chunk.positions)
    due_s = first_s + dt_s * np.arange(count, dtype=np.float64)
    first = int(np.count_nonzero(due_s <= SHORTEST_S))
    times_s = np.append(0.0, due_s[first:])
    if count == 1:
        rows = np.repeat(chunk.positions, 2, axis=0)
        still = np.zeros_like(rows)
        return _timeline(chunk, seam_ns, times_s, (rows, still, still)), 1.0, discrete & False
    knots = _inside(chunk.positions, dt_s, due_s, times_s, limits)
    stretch = _stretch(times_s, knots, limits, discrete)
    curve = _timeline(chunk, seam_ns, times_s, knots)
    if discrete.any():
        bounds = limits.slowed(stretch)
        curve = _with_steps(curve, chunk, first_s, bounds, np.flatnonzero(discrete))
    curve = slowed(curve, stretch)
    return curve, stretch, joints_outside(curve, limits)


def slowed(curve: Timeline[StampNs], factor: float) -> Timeline[StampNs]:
    """The same path, `factor` times slower, from the same moment on."""
    if factor == 1.0:
        return curve
    return Timeline(
        curve.joint_names,
        curve.start_ns,
        curve.times_s * factor,
        curve.positions,
        curve.velocities / factor,
        curve.accelerations / factor**2,
        curve.source,
    )


_Knots = tuple[FloatArray, FloatArray, FloatArray]


def _timeline(
    chunk: ActionChunk, seam_ns: StampNs, times_s: FloatArray, knots: _Knots
) -> Timeline[StampNs]:
    return Timeline(chunk.joint_names, seam_ns, times_s, *knots, chunk.source)


def _inside(
    rows: FloatArray, dt_s: float, due_s: FloatArray, times_s: FloatArray, limits: JointLimits
) -> _Knots:
    """Knots of the spline from the seam on, inside the joint range if that can be had."""
    lower, upper = limits.lower, limits.upper
    knots = _from_seam(rows, dt_s, due_s, limits)
    for _ in range(_ATTEMPTS):
        low, high = _extent(times_s, knots, limits)
        below, above = np.maximum(limits.lower - low, 0.0), np.maximum(high - limits.upper, 0.0)
        if not (below.any() or above.any()):
            break
        lower, upper = (
            np.minimum(lower + 1.5 * below, upper),
            np.maximum(upper - 1.5 * above, lower),
        )
        knots = _from_seam(np.clip(rows, lower, upper), dt_s, due_s, limits)
    return knots


def _from_seam(rows: FloatArray, dt_s: float, due_s: FloatArray, limits: JointLimits) -> _Knots:
    """Knots at the seam and at the rows that are due.

    The seam lies on the cubic to the first row that is due, or before the first row at all, where
    that row's cubic is continued for less than a period.
    """
    velocities, accelerations = cubic_knots(dt_s, rows)
    first = int(np.count_nonzero(due_s <= SHORTEST_S))
    k = max(first - 1, 0)
    since_s = -float(due_s[k])
    v, a = velocities[k], accelerations[k]
    jerk = (accelerations[k + 1] - a) / dt_s
    p = rows[k] + since_s * (v + since_s * (0.5 * a + since_s * jerk / 6.0))
    v, a = v + since_s * (a + 0.5 * since_s * jerk), a + since_s * jerk
    out = (p < limits.lower) | (p > limits.upper)
    if first == 0 and out.any():
        p = np.clip(p, limits.lower, limits.upper)
        v, a = np.where(out, 0.0, v), np.where(out, 0.0, a)
    return (
        np.concatenate([p[None], rows[first:]]),
        np.concatenate([v[None], velocities[first:]]),
        np.concatenate([a[None], accelerations[first:]]),
    )


def _spans(times_s: FloatArray) -> FloatArray:
    return (times_s[1:] - times_s[:-1])[:, None]


def _extent(
    times_s: FloatArray, knots: _Knots, limits: JointLimits
) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest position (J,) of cubics; only where it is near the limits exact."""
    (p, v, a), h = knots, _spans(times_s)
    hull = np.concatenate([p, p[:-1] + h * v[:-1] / 3.0, p[1:] - h * v[1:] / 3.0])
    low, high = hull.min(axis=0), hull.max(axis=0)
    if (low >= limits.lower).all() and (high <= limits.upper).all():
        return low, high
    turns = [np.clip(t, 0.0, h) for t in _roots(v[:-1], a[:-1], (a[1:] - a[:-1]) / (2.0 * h))]
    jerk = (a[1:] - a[:-1]) / h
    at = [p[:-1] + t * (v[:-1] + t * (0.5 * a[:-1] + t * jerk / 6.0)) for t in turns]
    reached = np.concatenate([p, *at])
    return reached.min(axis=0), reached.max(axis=0)


def _roots(c: FloatArray, b: FloatArray, a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both roots of a t^2 + b t + c without cancellation (Numerical Recipes 5.6), or anything."""
    q = -0.5 * (b + np.where(b >= 0.0, 1.0, -1.0) * np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(q / a), np.nan_to_num(c / q)


def _stretch(
    times_s: FloatArray, knots: _Knots, limits: JointLimits, discrete: np.ndarray
) -> float:
    """By how much cubics must be slowed to fit the limits, at most `MAX_STRETCH`.

    Slowing a motion by s divides velocity by s, acceleration by s^2 and jerk by s^3. The
    acceleration of a cubic is linear, so its velocity is extreme at a knot or where that is zero.
    """
    (p, v, a), h = knots, _spans(times_s)
    jerk = (a[1:] - a[:-1]) / h
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.where(a[1:] * a[:-1] < 0.0, v[:-1] - a[:-1] ** 2 / (2.0 * jerk), 0.0)
    factor = np.maximum.reduce(
        [
            np.maximum(np.abs(v).max(axis=0), np.abs(turn).max(axis=0)) / limits.velocity,
            np.sqrt(np.abs(a).max(axis=0) / limits.acceleration),
            np.cbrt(np.abs(jerk).max(axis=0) / limits.jerk),
        ]
    )
    if limits.by_position is not None:
        factor = np.maximum(factor, _too_fast(p, v, turn, h, limits.by_position))
    worst = float(np.max(factor, where=~discrete, initial=0.0))
    return min(max(worst * _MARGIN, 1.0), MAX_STRETCH)


def _too_fast(
    p: FloatArray,
    v: FloatArray,
    turn: FloatArray,
    h: FloatArray,
    allowed: PositionBasedVelocity,
) -> FloatArray:
    """By how much cubics must be slowed to be allowed the velocity they have where they are (J,).

    Args:
        p: Positions at the knots (K, J) [rad].
        v: Velocities there [rad/s].
        turn: Extreme velocities between them (K-1, J) [rad/s], 0 without any.
        h: Time between the knots (K-1, 1) [s].
        allowed: Limits.
    """
    hull = np.array([p[:-1], p[:-1] + h * v[:-1] / 3.0, p[1:] - h * v[1:] / 3.0, p[1:]])
    speeds = np.array([v[:-1], turn, v[1:], np.zeros_like(turn)])
    with np.errstate(divide="ignore", invalid="ignore"):
        up = speeds.max(axis=0) / allowed.upwards(hull.max(axis=0))
        down = -speeds.min(axis=0) / allowed.downwards(hull.min(axis=0))
    # 0 where it stands at a place where nothing is allowed.
    return np.nan_to_num(np.maximum(up, down).max(axis=0), nan=0.0, posinf=MAX_STRETCH)


def _with_steps(
    curve: Timeline[StampNs],
    chunk: ActionChunk,
    first_s: float,
    limits: JointLimits,
    joints: np.ndarray,
) -> Timeline[StampNs]:
    """Let `joints` step from row to row; knots are added where a step begins or ends."""
    dt_s, rows = chunk.dt_s, chunk.positions
    moving = [int(j) for j in joints if (rows[1:, j] != rows[:-1, j]).any()]
    if not moving:
        return curve
    values = np.empty((3, 2 * len(rows) + 1, len(moving)))
    marked = np.zeros(2 * len(rows) + 1, dtype=bool)
    for column, j in enumerate(moving):
        bounds = np.array([limits.velocity[j], limits.acceleration[j], limits.jerk[j]])
        room = _END_ROOM * (limits.upper[j] - limits.lower[j])
        targets = np.minimum(
            np.maximum(rows[:, j], limits.lower[j] + room), limits.upper[j] - room
        )
        length, late = step_shape(targets, dt_s, bounds)
        values[:, :, column], marks = stepped(targets, dt_s, length, late)
        marked |= marks
    # Half rows from one before the first; between rows only those that a step asks for.
    half_s = 0.5 * dt_s * np.arange(len(marked), dtype=np.float64)
    begin_s = first_s - dt_s
    marked[::2] = False
    marked &= half_s + begin_s > SHORTEST_S
    at_s, point = curve.times_s, JointPoint(curve.positions, curve.velocities, curve.accelerations)
    if marked.any():
        at_s = np.sort(np.concatenate([at_s, half_s[marked] + begin_s]))
        point = curve.sample_each(at_s)
    names = tuple(curve.joint_names[j] for j in moving)
    made = values[0], values[1], values[2]
    steps = Timeline(names, curve.start_ns, half_s, *made).sample_each(at_s - begin_s)
    p, v, a = point.position.copy(), point.velocity.copy(), point.acceleration.copy()
    p[:, moving], v[:, moving], a[:, moving] = steps.position, steps.velocity, steps.acceleration
    return Timeline(curve.joint_names, curve.start_ns, at_s, p, v, a, curve.source)

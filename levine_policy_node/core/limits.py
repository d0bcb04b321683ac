# SPDX-License-Identifier: Apache-2.0
"""Joint limits, and where a timeline breaks them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.bezier import CONTROL, KIND_ROWS, split
from levine_policy_node.core.position_based_velocity import Pieces, PositionBasedVelocity
from levine_policy_node.core.timeline import ClockNs, Timeline
from levine_policy_node.core.units import FloatArray

TOLERANCE = 1e-9
"""Of what is allowed, and at most so much [rad, s]."""

# How far beyond the end of its range a joint that rests there may be measured: encoders are
# noisy, and a gripper that is open stands at its stop. Of the range, and at most [rad or m].
_AT_STOP_SHARE = 0.005
_AT_STOP = 5e-3
ROUNDING = 4.0 * float(np.finfo(np.float64).eps)
"""Several roundings of a position of a few radians."""

# Over a span h the derivatives of a quintic of which one end moves by 1 reach 15/8h,
# 10/sqrt(3)h^2 and 60/h^3.
_STEP_PEAKS = (1.875, 5.7735, 60.0)
_SPLITS = 5


BY_POSITION = "velocity for its position"
KINDS = ("position", "velocity", "acceleration", "jerk", BY_POSITION)


@dataclass(frozen=True, slots=True)
class JointLimits:
    """Symmetric velocity, acceleration and jerk limits and a position range per joint.

    All arrays have shape (J,), in `names` order. Units are [rad], [rad/s], [rad/s^2] and
    [rad/s^3] ([m] and so on for prismatic joints).

    `by_position` are velocity limits that depend on the position, which hold besides; None for
    an arm that has none.
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray
    by_position: PositionBasedVelocity | None = None

    def scaled(self, factor: float) -> JointLimits:
        """The same position range with velocity, acceleration and jerk times `factor`."""
        return JointLimits(
            self.names,
            self.lower,
            self.upper,
            self.velocity * factor,
            self.acceleration * factor,
            self.jerk * factor,
            self.by_position and self.by_position.scaled(factor),
        )

    def slowed(self, factor: float) -> JointLimits:
        """What a motion may do that is played `factor` times slower."""
        return JointLimits(
            self.names,
            self.lower,
            self.upper,
            self.velocity * factor,
            self.acceleration * factor**2,
            self.jerk * factor**3,
            self.by_position and self.by_position.scaled(factor),
        )

    def gentler(self, acceleration: FloatArray) -> JointLimits:
        """Accelerations of at most `acceleration` (J,) [rad/s^2], reached in the same time."""
        share = np.minimum(acceleration / self.acceleration, 1.0)
        return replace(self, acceleration=self.acceleration * share, jerk=self.jerk * share)

    def resting(self, position: FloatArray) -> FloatArray:
        """`position` (J,) with joints that are measured just beyond their range at its end."""
        near = np.minimum(_AT_STOP_SHARE * (self.upper - self.lower), _AT_STOP)
        ranged = np.clip(position, self.lower, self.upper)
        return np.where(np.abs(position - ranged) <= near, ranged, position)

    def outside(self, position: FloatArray) -> str:
        """Name the first joint of `position` (J,) that is out of range, or return ""."""
        low = position < self.lower - TOLERANCE
        high = position > self.upper + TOLERANCE
        # Written so that NaN counts as outside.
        bad = np.flatnonzero(low | high | ~np.isfinite(position))
        if len(bad) == 0:
            return ""
        i = int(bad[0])
        return (
            f"{self.names[i]} is at {position[i]:.4f}, outside "
            f"[{self.lower[i]:.4f}, {self.upper[i]:.4f}]"
        )


@dataclass(frozen=True, slots=True)
class Excess:
    """The first place where a timeline breaks a limit.

    Attributes:
        segment: Index of the segment between two knots.
        kind: "finite", one of `KINDS`.
        joint: Joint name.
        value: Bound on what the segment reaches; of a velocity that depends on the position, as a
            share of what is allowed there.
        limit: What is allowed.
    """

    segment: int
    kind: str
    joint: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.joint}: {self.kind} {self.value:.4g} beyond {self.limit:.4g}"


def first_excess(timeline: Timeline[ClockNs], limits: JointLimits) -> Excess | None:
    """Find the first segment of `timeline` that breaks `limits`, or None.

    A polynomial stays within its Bezier control points (convex hull property; Farin, Curves and
    Surfaces for CAGD, section 4.3), so no excess is ever missed. A segment whose control points
    lie outside is split before it is judged, which brings them to the curve quadratically.
    """
    found = excess_segments(timeline, limits)
    return found[0] if found else None


def excess_segments(timeline: Timeline[ClockNs], limits: JointLimits) -> list[Excess]:
    """Every segment of `timeline` that breaks `limits`, in order, with its worst kind."""
    if len(timeline.times_s) == 1:
        broken = _not_finite(timeline)
        return [broken] if broken is not None else _standing_excess(timeline, limits)
    bad, reach = _reach(timeline, limits)
    if len(bad) == 0:
        return []
    broken = _not_finite(timeline)
    if broken is not None:
        return [broken]
    return [
        _describe(int(segment), reach[:, i], limits)
        for i, segment in enumerate(bad)
        # Written so that NaN counts as beyond: what is left of numbers too large to judge.
        if not reach[:, i].max() <= 1.0
    ]


def joints_outside(timeline: Timeline[ClockNs], limits: JointLimits) -> np.ndarray:
    """Mask (J,) of the joints that break any of their limits somewhere, or are not finite."""
    _, reach = _reach(timeline, limits)
    return np.asarray(~(reach <= 1.0).all(axis=(0, 1)))


def _reach(timeline: Timeline[ClockNs], limits: JointLimits) -> tuple[np.ndarray, FloatArray]:
    """Segments (N,) that may break a limit, and how far (K, N, J) they reach of each, at most.

    K is 4, or 5 with velocity limits that depend on the position.
    """
    times = timeline.times_s
    spans = times[1:] - times[:-1]
    ends = _segment_ends(timeline, spans)
    ends[[0, 3]] -= _centre(limits)
    with np.errstate(invalid="ignore"):
        points = (CONTROL @ ends.reshape(6, -1)).reshape(18, *ends.shape[1:])
    half = _half_widths(limits, spans)
    reach = np.maximum.reduceat(np.abs(points), _FIRST_ROWS, axis=0)
    bad, close = _constant_reach(points, reach, half)
    if limits.by_position is None:
        return bad, close
    calm = limits.by_position.calm(_centre(limits), limits.velocity)
    if (reach[0] <= calm).all():
        # Mostly so: the constant limit is the lower one, and that has been judged.
        return bad, close
    fast, shares = _shares_by_position(points, spans, limits, limits.by_position)
    if len(fast) == 0:
        return bad, close
    either = np.union1d(bad, fast)
    both = np.zeros((5, len(either), len(limits.names)))
    both[:4, either.searchsorted(bad)] = close
    both[4, either.searchsorted(fast)] = shares
    return either, both


def _constant_reach(
    points: FloatArray, reach: FloatArray, half: FloatArray
) -> tuple[np.ndarray, FloatArray]:
    """Segments (N,) that may break a constant limit, and how far (4, N, J) they reach."""
    # Written so that NaN counts as outside.
    inside = reach <= half
    bad = np.flatnonzero(~inside.all(axis=(0, 2)))
    if len(bad) == 0:
        return bad, np.zeros((4, 0, half.shape[2]))
    # The first and last control points lie on the curve: beyond the limit there, nothing is left
    # to find out by splitting.
    on_curve = np.abs(points[:, bad])
    close = np.maximum(on_curve[_FIRST_ROWS], on_curve[_LAST_ROWS]) / half[:, bad]
    doubtful = np.flatnonzero(close.max(axis=(0, 2)) <= 1.0)
    at = bad[doubtful]
    for kind, rows in enumerate(KIND_ROWS):
        if inside[kind, at].all():
            continue
        halves = np.abs(split(points[rows][:, at], _SPLITS))
        close[kind, doubtful] = halves.max(axis=(0, 1)) / half[kind, at]
    return bad, close


def _shares_by_position(
    points: FloatArray, spans: FloatArray, limits: JointLimits, allowed: PositionBasedVelocity
) -> tuple[np.ndarray, FloatArray]:
    """Segments (N,) that may be too fast for where they are, and their shares (N, J)."""
    centre = _centre(limits)
    whole = [points[rows] for rows in KIND_ROWS]
    whole[0] = whole[0] + centre
    bounds = spans, limits.acceleration, limits.jerk
    shares = allowed.shares(Pieces(*whole), *bounds)
    fast = np.flatnonzero(~(shares <= 1.0).all(axis=1))
    if len(fast) == 0:
        return fast, shares[fast]
    # (2**_SPLITS, S, N, J), of which control points come first.
    pieces = [split(kind[:, fast], _SPLITS).swapaxes(0, 1) for kind in whole]
    bounds = spans[fast], limits.acceleration, limits.jerk
    return fast, allowed.shares(Pieces(*pieces), *bounds).max(axis=0)


def _not_finite(timeline: Timeline[ClockNs]) -> Excess | None:
    values = np.hstack([timeline.positions, timeline.velocities, timeline.accelerations])
    rows, columns = np.nonzero(~np.isfinite(values))
    if len(rows) == 0:
        return None
    joint = timeline.joint_names[int(columns[0]) % len(timeline.joint_names)]
    return Excess(max(0, int(rows[0]) - 1), "finite", joint, float("nan"), float("inf"))


def _standing_excess(timeline: Timeline[ClockNs], limits: JointLimits) -> list[Excess]:
    """A single knot moves nothing, so it must be at rest and in range."""
    moving: FloatArray = np.abs(timeline.velocities[0]) + np.abs(timeline.accelerations[0])
    ratios = np.zeros((4, len(limits.names)))
    half = _half_widths(limits, np.ones(1))
    ratios[0] = np.abs(timeline.positions[0] - _centre(limits)) / half[0, 0]
    ratios[1] = np.where(moving > 0.0, np.inf, 0.0)
    return [_describe(0, ratios, limits)] if ratios.max() > 1.0 else []


def _segment_ends(timeline: Timeline[ClockNs], spans: FloatArray) -> FloatArray:
    """p, h v and h^2 a at both ends of every segment of length h, shape (6, K-1, J)."""
    h = spans[:, None]
    p, v, a = timeline.positions, timeline.velocities, timeline.accelerations
    return np.array([p[:-1], h * v[:-1], h * h * a[:-1], p[1:], h * v[1:], h * h * a[1:]])


_FIRST_ROWS = [rows.start for rows in KIND_ROWS]
_LAST_ROWS = [rows.stop - 1 for rows in KIND_ROWS]


def _centre(limits: JointLimits) -> FloatArray:
    return 0.5 * (limits.lower + limits.upper)


def _half_widths(limits: JointLimits, spans: FloatArray) -> FloatArray:
    """How far from its centre each kind of control point may be, shape (4, K-1, J)."""
    h = spans[:, None]
    half = np.empty((4, len(spans), len(limits.names)))
    half[0] = 0.5 * (limits.upper - limits.lower) + TOLERANCE
    bounds = (limits.velocity, limits.acceleration, limits.jerk)
    for order, (bound, peak) in enumerate(zip(bounds, _STEP_PEAKS, strict=True), start=1):
        allowed = bound + TOLERANCE * np.minimum(bound, 1.0)
        half[order] = allowed * h**order + peak * ROUNDING
    return half


def _describe(segment: int, ratios: FloatArray, limits: JointLimits) -> Excess:
    kind, joint = (int(i) for i in np.unravel_index(int(np.argmax(ratios)), ratios.shape))
    half = 0.5 * (limits.upper - limits.lower)
    bounds = (half, limits.velocity, limits.acceleration, limits.jerk, np.ones_like(half))
    limit = float(bounds[kind][joint])
    value = float(ratios[kind, joint]) * limit
    if kind == 0:
        value, limit = value - limit, 0.0
    return Excess(segment, KINDS[kind], limits.names[joint], value, limit)

# SPDX-License-Identifier: Apache-2.0
"""A C2 piecewise-quintic joint trajectory on absolute time.

Between two knots the position is the quintic that the positions, velocities and accelerations of
both ends define. joint_trajectory_controller interpolates the same polynomial, so what is sampled
here is what the arm is told to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from levine_policy_node.core.units import NS_PER_S, FloatArray

ClockNs = TypeVar("ClockNs", bound=int)
"""StampNs or SteadyNs: a timeline lives on one clock and says which in its type."""


_HALF_NS = 0.501e-9


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


@dataclass(frozen=True, slots=True)
class Peaks:
    """Largest absolute velocity, acceleration and jerk per joint, each (J,)."""

    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray


@dataclass(frozen=True, slots=True)
class Timeline(Generic[ClockNs]):
    """Knots of a C2 trajectory.

    Attributes:
        joint_names: J names, the column order of all arrays.
        start_ns: Absolute time of `times_s[0]`.
        times_s: Knot times after `start_ns`, shape (K,) [s], first 0, strictly increasing.
        positions: Shape (K, J) [rad].
        velocities: Shape (K, J) [rad/s].
        accelerations: Shape (K, J) [rad/s^2].
        source: Who asks for this motion (source tag).
    """

    joint_names: tuple[str, ...]
    start_ns: ClockNs
    times_s: FloatArray
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray
    source: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.times_s), len(self.joint_names))
        for values in (self.positions, self.velocities, self.accelerations):
            if values.shape != shape:
                raise ValueError(f"timeline: expected arrays of shape {shape}, got {values.shape}")
        times = self.times_s
        if shape[0] == 0 or times[0] != 0.0 or not (times[1:] > times[:-1]).all():
            raise ValueError("timeline: times_s must start at 0 and strictly increase")

    @property
    def end_ns(self) -> int:
        """Absolute time of the last knot, on the timeline's clock."""
        return int(self.start_ns) + round(float(self.times_s[-1]) * NS_PER_S)

    @property
    def duration_s(self) -> float:
        """Time from the first to the last knot [s]."""
        return float(self.times_s[-1])

    def covers(self, time_ns: ClockNs) -> bool:
        """Whether `time_ns` lies between the first and the last knot."""
        return self.start_ns <= time_ns <= self.end_ns

    def sample(self, time_ns: ClockNs) -> JointPoint:
        """Evaluate the trajectory at one instant.

        Before the first knot the first is returned and past the last knot the last, both at
        rest: a timeline never extrapolates. Callers that must know ask `covers`.
        """
        return self.sample_s((int(time_ns) - int(self.start_ns)) / NS_PER_S)

    def sample_s(self, offset_s: float) -> JointPoint:
        """Evaluate at `offset_s` [s] after `start_ns`; see `sample`."""
        # An end in whole nanoseconds may miss the last knot by half of one.
        past_s = offset_s - float(self.times_s[-1])
        if offset_s <= 0.0 or past_s >= -_HALF_NS:
            last = 0 if offset_s <= 0.0 else len(self.times_s) - 1
            if offset_s == 0.0 or abs(past_s) <= _HALF_NS:
                return JointPoint(
                    self.positions[last], self.velocities[last], self.accelerations[last]
                )
            return JointPoint.at_rest(self.positions[last])
        k = int(self.times_s.searchsorted(offset_s, side="right")) - 1
        begin_s, end_s = float(self.times_s[k]), float(self.times_s[k + 1])
        p, v, a = self.positions, self.velocities, self.accelerations
        ends = np.array([p[k + 1] - p[k], v[k], a[k], v[k + 1], a[k + 1]])
        moved, velocity, acceleration = _hermite(offset_s - begin_s, end_s - begin_s) @ ends
        return JointPoint(p[k] + moved, velocity, acceleration)

    def window(self, begin_ns: ClockNs, end_ns: ClockNs) -> Timeline[ClockNs]:
        """Cut out [begin_ns, end_ns], with knots added at both ends.

        The path between does not change: a quintic through two points of a quintic, with their
        velocities and accelerations, is the same quintic.

        Raises:
            ValueError: If the window is empty or not inside the timeline.
        """
        if not (self.covers(begin_ns) and self.covers(end_ns) and begin_ns < end_ns):
            raise ValueError("timeline: window lies outside the timeline")
        begin_s = (int(begin_ns) - int(self.start_ns)) / NS_PER_S
        end_s = min((int(end_ns) - int(self.start_ns)) / NS_PER_S, float(self.times_s[-1]))
        inner = slice(
            int(self.times_s.searchsorted(begin_s + 1e-9, side="right")),
            int(self.times_s.searchsorted(end_s - 1e-9, side="left")),
        )
        first, last = self.sample_s(begin_s), self.sample_s(end_s)
        return Timeline(
            self.joint_names,
            begin_ns,
            np.concatenate(((0.0,), self.times_s[inner] - begin_s, (end_s - begin_s,))),
            _between(first.position, self.positions[inner], last.position),
            _between(first.velocity, self.velocities[inner], last.velocity),
            _between(first.acceleration, self.accelerations[inner], last.acceleration),
            self.source,
        )

    def then(self, other: Timeline[ClockNs]) -> Timeline[ClockNs]:
        """Append `other`, which starts where and when this one ends.

        Only the times must agree here (within 1 microsecond); that the states agree is for the
        caller to have made true. The knot at the joint is taken from `other`.

        Raises:
            ValueError: If `other` does not start at this timeline's end or has other joints.
        """
        gap_ns = int(other.start_ns) - self.end_ns
        if abs(gap_ns) > 1_000 or other.joint_names != self.joint_names:
            raise ValueError("timeline: the appended part does not start where this one ends")
        shift = self.times_s[-1]
        return Timeline(
            self.joint_names,
            self.start_ns,
            np.concatenate((self.times_s[:-1], other.times_s + shift)),
            np.concatenate((self.positions[:-1], other.positions)),
            np.concatenate((self.velocities[:-1], other.velocities)),
            np.concatenate((self.accelerations[:-1], other.accelerations)),
            other.source,
        )

    def peaks(self) -> Peaks:
        """Exact largest absolute velocity, acceleration and jerk over the whole timeline."""
        if len(self.times_s) == 1:
            still = np.zeros(len(self.joint_names))
            return Peaks(np.abs(self.velocities[0]), np.abs(self.accelerations[0]), still)
        segments = self.segment_peaks()
        return Peaks(
            segments.velocity.max(axis=0),
            segments.acceleration.max(axis=0),
            segments.jerk.max(axis=0),
        )

    def segment_peaks(self) -> Peaks:
        """Exact largest absolute velocity, acceleration and jerk per segment, each (K-1, J).

        The extrema of each derivative lie at the ends of the segment or at the roots of the next
        derivative, which are bracketed and bisected, not sampled.
        """
        p, v, a = self.positions, self.velocities, self.accelerations
        spans = np.diff(self.times_s)[:, None]
        begin, end = JointPoint(p[:-1], v[:-1], a[:-1]), JointPoint(p[1:], v[1:], a[1:])
        c = quintic_coefficients(begin, end, spans)
        jerk_at = np.stack([np.zeros_like(c[0]), _vertex(c, spans), spans + 0 * c[0]])
        jerk_roots = _jerk_roots(c, spans)
        acceleration_at = np.concatenate([jerk_at[[0, 2]], jerk_roots])
        brackets = np.sort(acceleration_at, axis=0)
        velocity_at = np.concatenate([jerk_at[[0, 2]], _acceleration_roots(c, brackets)])
        return Peaks(
            np.abs(_velocity(c, velocity_at)).max(axis=0),
            np.abs(_acceleration(c, acceleration_at)).max(axis=0),
            np.abs(_jerk(c, jerk_at)).max(axis=0),
        )


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


def _hermite(t: float, h: float) -> FloatArray:
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


def _between(first: FloatArray, inner: FloatArray, last: FloatArray) -> FloatArray:
    return np.concatenate((first[None], inner, last[None]))


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

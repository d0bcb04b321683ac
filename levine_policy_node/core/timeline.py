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

from levine_policy_node.core.quintic import (
    WEIGHTS,
    JointPoint,
    coefficient_peaks,
    hermite,
    quintic_coefficients,
)
from levine_policy_node.core.units import NS_PER_S, FloatArray

ClockNs = TypeVar("ClockNs", bound=int)
"""StampNs or SteadyNs: a timeline lives on one clock and says which in its type."""


_HALF_NS = 0.501e-9


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
        moved, velocity, acceleration = hermite(offset_s - begin_s, end_s - begin_s) @ ends
        return JointPoint(p[k] + moved, velocity, acceleration)

    def sample_each(self, offsets_s: FloatArray) -> JointPoint:
        """Evaluate at several offsets (N,) [s] from the first to the last knot, each (N, J)."""
        times, p, v, a = self.times_s, self.positions, self.velocities, self.accelerations
        if len(times) == 1:
            one = np.zeros(len(offsets_s), dtype=np.intp)
            return JointPoint(p[one], v[one], a[one])
        k = np.clip(times.searchsorted(offsets_s, side="right") - 1, 0, len(times) - 2)
        h = times[k + 1] - times[k]
        n, columns = len(k), h[:, None]
        square = columns * columns
        ends = np.empty((n, 5, p.shape[1]))
        ends[:, 0], ends[:, 1], ends[:, 2] = p[k + 1] - p[k], columns * v[k], square * a[k]
        ends[:, 3], ends[:, 4] = columns * v[k + 1], square * a[k + 1]
        powers = np.ones((n, 6))
        powers[:, 1:] = ((offsets_s - times[k]) / h)[:, None]
        np.multiply.accumulate(powers, axis=1, out=powers)
        found = (powers @ WEIGHTS).reshape(n, 3, 5) @ ends
        return JointPoint(p[k] + found[:, 0], found[:, 1] / columns, found[:, 2] / square)

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
        return Peaks(*coefficient_peaks(c, spans))


def _between(first: FloatArray, inner: FloatArray, last: FloatArray) -> FloatArray:
    return np.concatenate((first[None], inner, last[None]))

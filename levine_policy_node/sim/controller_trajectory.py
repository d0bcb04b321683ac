# SPDX-License-Identifier: Apache-2.0
"""A trajectory as joint_trajectory_controller gets it, and how it samples one.

Behaviour was read in `trajectory.cpp`; `controller_semantics` says in which releases.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from levine_policy_node.core.supervision import Rest
from levine_policy_node.core.timeline import JointPoint, Timeline, quintic_coefficients
from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs, nanoseconds, seconds


@dataclass(frozen=True, slots=True)
class TrajectoryPoint:
    """One point as it was sent; a field that was not given is empty.

    Attributes:
        time_from_start_ns: After the start of the trajectory [ns].
        positions: [rad], in the order of the command's joint names.
        velocities: [rad/s].
        accelerations: [rad/s^2].
        effort: [Nm].
    """

    time_from_start_ns: int
    positions: FloatArray
    velocities: FloatArray = field(default_factory=lambda: np.empty(0))
    accelerations: FloatArray = field(default_factory=lambda: np.empty(0))
    effort: FloatArray = field(default_factory=lambda: np.empty(0))

    def at(self, time_from_start_ns: int) -> TrajectoryPoint:
        """The same point at another time."""
        return TrajectoryPoint(
            time_from_start_ns, self.positions, self.velocities, self.accelerations, self.effort
        )


@dataclass(frozen=True, slots=True)
class TrajectoryCommand:
    """A JointTrajectory as it was sent.

    Attributes:
        joint_names: Column order of the points.
        stamp_ns: Start of the trajectory on the ROS clock; 0 starts it when it is first sampled.
        points: The points.
    """

    joint_names: tuple[str, ...]
    stamp_ns: StampNs
    points: tuple[TrajectoryPoint, ...]


@dataclass(slots=True)
class RunningTrajectory:
    """A trajectory that is being played, in the controller's joint order.

    Attributes:
        stamp_ns: Start as it was sent; 0 for "when first sampled".
        points: At least one.
        start_ns: The start, once known.
        before_ns: When the controller was in the state `before`.
        before: What the way to the first point begins from.
        found: Segment the last search ended in; the next begins there and never goes back
            (trajectory.cpp:173 and 202), so a clock that steps back ends the trajectory.
    """

    stamp_ns: StampNs
    points: list[TrajectoryPoint]
    start_ns: StampNs | None = None
    before_ns: int = 0
    before: TrajectoryPoint | None = None
    found: int = 0

    def begin(self, now_ns: StampNs, before_ns: int, before: TrajectoryPoint) -> None:
        """Fix the start at the first sample, and what the way to the first point begins from."""
        self.start_ns = self.stamp_ns if self.stamp_ns != 0 else now_ns
        self.before_ns, self.before = before_ns, before

    def advance(self, now_ns: StampNs) -> None:
        """Search the segment of `now_ns`, from which later searches begin."""
        if self.start_ns is None or now_ns < self.before_ns:
            return
        offset_ns = now_ns - self.start_ns
        if offset_ns >= self.points[0].time_from_start_ns:
            self.found = self._segment(offset_ns)

    def sample(self, time_ns: StampNs, *, end_searches_on: bool = False) -> JointPoint | None:
        """Evaluate at `time_ns`; None before the state the trajectory was joined from."""
        if self.start_ns is None or self.before is None or time_ns < self.before_ns:
            return None
        offset_ns, points = time_ns - self.start_ns, self.points
        if offset_ns < points[0].time_from_start_ns:
            span_ns = self.start_ns + points[0].time_from_start_ns - self.before_ns
            joined = _with_derivatives_of(self.before, points[0])
            return _interpolate(joined, points[0], span_ns, time_ns - self.before_ns)
        k = self._segment(offset_ns)
        if k == len(points) - 1:
            if end_searches_on:
                self.found = k
            return _last(points[-1])
        begin_ns = points[k].time_from_start_ns
        span_ns = points[k + 1].time_from_start_ns - begin_ns
        return _interpolate(points[k], points[k + 1], span_ns, offset_ns - begin_ns)

    def _segment(self, offset_ns: int) -> int:
        """Index of the point that begins the segment; the last point's if there is none."""
        points = self.points
        for k in range(self.found, len(points) - 1):
            begin_ns, end_ns = points[k].time_from_start_ns, points[k + 1].time_from_start_ns
            if begin_ns <= offset_ns < end_ns:
                return k
        return len(points) - 1


def as_point(state: JointPoint, time_from_start_ns: int = 0) -> TrajectoryPoint:
    """A commanded state as a point with all derivatives."""
    return TrajectoryPoint(time_from_start_ns, state.position, state.velocity, state.acceleration)


def _last(point: TrajectoryPoint) -> JointPoint:
    still = np.zeros_like(point.positions)
    return JointPoint(
        point.positions,
        point.velocities if len(point.velocities) else still,
        point.accelerations if len(point.accelerations) else still,
    )


def _with_derivatives_of(before: TrajectoryPoint, first: TrajectoryPoint) -> TrajectoryPoint:
    """Zeros for derivatives only the first point has, so the degree is that of the rest."""
    still = np.zeros_like(before.positions)
    velocities, accelerations = before.velocities, before.accelerations
    if len(velocities) == 0 and len(first.velocities):
        velocities = still
    if len(accelerations) == 0 and len(first.accelerations):
        accelerations = still
    return TrajectoryPoint(0, before.positions, velocities, accelerations)


def _interpolate(
    a: TrajectoryPoint, b: TrajectoryPoint, span_ns: int, offset_ns: int
) -> JointPoint:
    """Linear, cubic or quintic between two points, by what both of them give."""
    span_s, t = seconds(span_ns), seconds(offset_ns)
    has_velocity = len(a.velocities) > 0 and len(b.velocities) > 0
    has_acceleration = len(a.accelerations) > 0 and len(b.accelerations) > 0
    still = np.zeros_like(a.positions)
    if has_acceleration and not has_velocity:
        # No branch of the original covers this, and its output starts as zeros.
        return JointPoint.at_rest(still)
    if has_acceleration:
        c = quintic_coefficients(
            JointPoint(a.positions, a.velocities, a.accelerations),
            JointPoint(b.positions, b.velocities, b.accelerations),
            span_s,
        )
    elif has_velocity:
        slope = (b.positions - a.positions) / span_s
        c = np.stack(
            [
                a.positions,
                a.velocities,
                (3.0 * slope - 2.0 * a.velocities - b.velocities) / span_s,
                (a.velocities + b.velocities - 2.0 * slope) / span_s**2,
                still,
                still,
            ]
        )
    else:
        slope = (b.positions - a.positions) / span_s
        return JointPoint(a.positions + t * slope, slope, still)
    powers = t ** np.arange(6)
    order = np.arange(1, 6)
    return JointPoint(
        powers @ c,
        (order * powers[:5]) @ c[1:],
        (order[:4] * order[1:] * powers[:4]) @ c[2:],
    )


def rest_command(joint_names: tuple[str, ...], rest: Rest) -> TrajectoryCommand:
    """The rest as the message a controller would get."""
    still = np.zeros_like(rest.position)
    point = TrajectoryPoint(nanoseconds(rest.duration_s), rest.position, still, still)
    return TrajectoryCommand(joint_names, StampNs(0), (point,))


def command_of(window: Timeline[SteadyNs]) -> TrajectoryCommand:
    """The window as the message a controller would get."""
    points = tuple(
        TrajectoryPoint(
            nanoseconds(float(window.times_s[k])),
            window.positions[k],
            window.velocities[k],
            window.accelerations[k],
        )
        for k in range(len(window.times_s))
    )
    return TrajectoryCommand(window.joint_names, StampNs(int(window.start_ns)), points)

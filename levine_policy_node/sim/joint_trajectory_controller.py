# SPDX-License-Identifier: Apache-2.0
"""joint_trajectory_controller as ROS 2 Jazzy ships it, for the topic interface.

Behaviour was read in ros2_controllers, branch jazzy (`joint_trajectory_controller.cpp` and
`trajectory.cpp`), and is kept where it surprises: NaN is accepted, a joint named twice is
accepted, points with accelerations but without velocities command 0 rad. A runtime that is safe
here must not rely on a kinder controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from levine_policy_node.core.timeline import JointPoint, quintic_coefficients
from levine_policy_node.core.units import FloatArray, StampNs, seconds

_FLOAT_EPSILON = float(np.finfo(np.float32).eps)


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


@dataclass(frozen=True, slots=True)
class TrajectoryControllerOptions:
    """Parameters of the controller, with its stock defaults."""

    interpolate_from_desired_state: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool = False


def rejection(
    command: TrajectoryCommand,
    joint_names: Sequence[str],
    now_ns: StampNs,
    options: TrajectoryControllerOptions,
) -> str | None:
    """Say why the controller ignores a trajectory, or None if it takes it."""
    if len(command.joint_names) != len(joint_names):
        return f"{len(command.joint_names)} joints, the controller has {len(joint_names)}"
    if not command.points:
        return "empty trajectory"
    unknown = [name for name in command.joint_names if name not in joint_names]
    if unknown:
        return f"joint {unknown[0]} is not one of the controller's"
    last = command.points[-1]
    # Comparisons with NaN are false, so NaN passes here as it does in the real controller.
    if not options.allow_nonzero_velocity_at_trajectory_end and np.any(
        np.abs(last.velocities) > _FLOAT_EPSILON
    ):
        return "velocity of the last point is not zero"
    if command.stamp_ns != 0 and command.stamp_ns + last.time_from_start_ns < now_ns:
        return "trajectory ends in the past"
    return _point_rejection(command)


def _point_rejection(command: TrajectoryCommand) -> str | None:
    previous_ns: int | None = None
    count = len(command.joint_names)
    for i, point in enumerate(command.points):
        if previous_ns is not None and point.time_from_start_ns <= previous_ns:
            return f"time of point {i} does not increase"
        previous_ns = point.time_from_start_ns
        if len(point.positions) != count:
            return f"{len(point.positions)} positions at point {i} for {count} joints"
        if len(point.velocities) not in {0, count}:
            return f"{len(point.velocities)} velocities at point {i} for {count} joints"
        if len(point.accelerations) not in {0, count}:
            return f"{len(point.accelerations)} accelerations at point {i} for {count} joints"
        if len(point.effort) != 0:
            return "effort is given, the controller commands positions"
    return None


@dataclass(slots=True)
class _Running:
    """The trajectory being sampled, in the controller's joint order."""

    stamp_ns: StampNs
    points: list[TrajectoryPoint]
    start_ns: StampNs | None = None
    before_ns: int = 0
    before: TrajectoryPoint | None = None


class JointTrajectoryController:
    """Samples the newest accepted trajectory once per control cycle."""

    def __init__(
        self,
        joint_names: Sequence[str],
        period_ns: int,
        options: TrajectoryControllerOptions | None = None,
    ) -> None:
        """Create the controller, inactive until `activate`.

        Args:
            joint_names: J joints, the order of every array it takes and returns.
            period_ns: Control period of the controller manager [ns].
            options: Parameters; the stock defaults if None.
        """
        self.joint_names = tuple(joint_names)
        self._period_ns = period_ns
        self._options = options or TrajectoryControllerOptions()
        self._new: TrajectoryCommand | None = None
        self._running: _Running | None = None
        self._commanded: JointPoint | None = None
        self._commanded_ns = StampNs(0)
        # The original sorts joints through one static buffer; a joint that a message names twice
        # leaves another one with what the buffer held before.
        self._buffer = np.zeros(len(self.joint_names))

    def activate(self, position: FloatArray) -> None:
        """Forget every trajectory and hold `position` (J,) [rad]."""
        self._new = None
        self._commanded = JointPoint.at_rest(position)
        self._commanded_ns = StampNs(0)
        self._running = _Running(StampNs(0), [TrajectoryPoint(0, np.array(position))])

    def receive(self, command: TrajectoryCommand, now_ns: StampNs) -> str | None:
        """Take a trajectory from the topic; the next `update` follows it.

        Returns:
            None if it was accepted, else why not (the sender is told nothing).
        """
        reason = rejection(command, self.joint_names, now_ns, self._options)
        if reason is None:
            self._new = command
        return reason

    def update(self, now_ns: StampNs, position: FloatArray, velocity: FloatArray) -> FloatArray:
        """Run one control cycle.

        Args:
            now_ns: Time of this cycle on the ROS clock.
            position: Measured, shape (J,) [rad].
            velocity: Measured, shape (J,) [rad/s].

        Returns:
            The setpoint written to the servos, shape (J,) [rad]: the trajectory one period
            ahead, when the next cycle replaces it.

        Raises:
            RuntimeError: If the controller was not activated.
        """
        if self._new is not None:
            self._running = _Running(self._new.stamp_ns, self._sorted(self._new))
            self._new = None
        running, commanded = self._running, self._commanded
        if running is None or commanded is None:
            raise RuntimeError("joint_trajectory_controller: update before activate")
        if running.start_ns is None:
            running.start_ns = running.stamp_ns if running.stamp_ns != 0 else now_ns
            if self._options.interpolate_from_desired_state:
                running.before_ns = self._commanded_ns or now_ns
                running.before = TrajectoryPoint(
                    0, commanded.position, commanded.velocity, commanded.acceleration
                )
            else:
                running.before_ns = now_ns
                running.before = TrajectoryPoint(0, np.array(position), np.array(velocity))
        point = _sample(running, StampNs(now_ns + self._period_ns))
        if point is not None:
            self._commanded, self._commanded_ns = point, now_ns
            return point.position
        return commanded.position

    def _sorted(self, command: TrajectoryCommand) -> list[TrajectoryPoint]:
        target = [self.joint_names.index(name) for name in command.joint_names]

        def remap(values: FloatArray) -> FloatArray:
            if len(values) == 0:
                return values
            for index, value in zip(target, values, strict=True):
                self._buffer[index] = value
            return self._buffer.copy()

        return [
            TrajectoryPoint(
                point.time_from_start_ns,
                remap(point.positions),
                remap(point.velocities),
                remap(point.accelerations),
            )
            for point in command.points
        ]


def _sample(running: _Running, time_ns: StampNs) -> JointPoint | None:
    """Evaluate at `time_ns`; None before the state the trajectory was joined from."""
    start_ns, before = running.start_ns, running.before
    if start_ns is None or before is None or time_ns < running.before_ns:
        return None
    offset_ns = time_ns - start_ns
    points = running.points
    if offset_ns < points[0].time_from_start_ns:
        span_ns = start_ns + points[0].time_from_start_ns - running.before_ns
        joined = _with_derivatives_of(before, points[0])
        return _interpolate(joined, points[0], span_ns, time_ns - running.before_ns)
    if offset_ns >= points[-1].time_from_start_ns:
        return _last(points[-1])
    # The newest point that is due; the ones before it are past and skipped.
    low, high = 0, len(points) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if points[middle].time_from_start_ns <= offset_ns:
            low = middle
        else:
            high = middle
    span_ns = points[high].time_from_start_ns - points[low].time_from_start_ns
    return _interpolate(
        points[low], points[high], span_ns, offset_ns - points[low].time_from_start_ns
    )


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

# SPDX-License-Identifier: Apache-2.0
"""joint_trajectory_controller with a position interface, for the topic interface.

Behaviour was read in ros2_controllers (`controller_semantics` says where), and is kept where it
surprises: NaN is accepted, a joint named twice is accepted, points with accelerations but without
velocities command 0 rad. A runtime that is safe here must not rely on a kinder controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.sim.controller_blending import blended
from levine_policy_node.sim.controller_semantics import (
    SEMANTICS,
    ControllerSemantics,
    Distribution,
)
from levine_policy_node.sim.controller_trajectory import (
    RunningTrajectory,
    TrajectoryCommand,
    TrajectoryPoint,
    as_point,
)

_FLOAT_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class TrajectoryControllerOptions:
    """Parameters of the controller, with its stock defaults.

    Attributes:
        semantics: Whose behaviour it has.
        interpolate_from_desired_state: The way to a first point in the future begins from the
            last command instead of the measured state (`open_loop_control` on Humble).
        allow_nonzero_velocity_at_trajectory_end: None for the default of the release.
        allow_trajectory_replacement: Blend; without effect before `master`.
    """

    semantics: Distribution = "jazzy"
    interpolate_from_desired_state: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool | None = None
    allow_trajectory_replacement: bool = True

    @property
    def release(self) -> ControllerSemantics:
        """How that release behaves."""
        return SEMANTICS[self.semantics]

    @property
    def may_end_moving(self) -> bool:
        """Whether the last point may have a velocity."""
        asked = self.allow_nonzero_velocity_at_trajectory_end
        return self.release.end_velocity_allowed if asked is None else asked


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
    if not options.may_end_moving and np.any(np.abs(last.velocities) > _FLOAT_EPSILON):
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
        self._release = self._options.release
        self._new: TrajectoryCommand | None = None
        self._running: RunningTrajectory | None = None
        self._commanded: JointPoint | None = None
        self._commanded_ns = self._cursor_ns = StampNs(0)
        # The original sorts joints through one static buffer; a joint that a message names twice
        # leaves another one with what the buffer held before.
        self._buffer = np.zeros(len(self.joint_names))

    def activate(self, position: FloatArray) -> None:
        """Forget every trajectory and hold `position` (J,) [rad]."""
        self._new = None
        self._commanded = JointPoint.at_rest(position)
        self._commanded_ns = StampNs(0)
        self._running = RunningTrajectory(StampNs(0), [TrajectoryPoint(0, np.array(position))])

    @property
    def reference(self) -> JointPoint | None:
        """What it commanded in its last cycle (`controller_state.reference`); None before it."""
        return self._commanded

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
            The setpoint written to the servos, shape (J,) [rad]: the trajectory now (Humble) or
            one period ahead, when the next cycle replaces it.

        Raises:
            RuntimeError: If the controller was not activated.
        """
        self._take_new(now_ns)
        running, commanded = self._running, self._commanded
        if running is None or commanded is None:
            raise RuntimeError("joint_trajectory_controller: update before activate")
        if running.start_ns is None:
            self._begin(
                running,
                commanded,
                now_ns,
                TrajectoryPoint(0, np.array(position), np.array(velocity)),
            )
        self._cursor_ns = now_ns
        running.advance(now_ns)
        ahead_ns = self._period_ns if self._release.looks_ahead else 0
        point = running.sample(
            StampNs(now_ns + ahead_ns), end_searches_on=self._release.end_searches_on
        )
        if point is not None:
            self._commanded, self._commanded_ns = point, now_ns
            return point.position
        return commanded.position

    def _take_new(self, now_ns: StampNs) -> None:
        """Let the newest message replace what is played, or join it (master)."""
        if self._new is None:
            return
        new, old = self._new, self._running
        self._new = None
        points = self._sorted(new)
        blends = self._release.blends and self._options.allow_trajectory_replacement
        # One point is a hold, which is replaced (`has_nontrivial_msg`).
        if blends and old is not None and len(old.points) > 1:
            self._running = blended(old, new.stamp_ns, points, now_ns, self._cursor_ns)
        else:
            self._running = RunningTrajectory(new.stamp_ns, points)

    def _begin(
        self,
        running: RunningTrajectory,
        commanded: JointPoint,
        now_ns: StampNs,
        measured: TrajectoryPoint,
    ) -> None:
        """Fix what the way to the first point begins from, at the first sample."""
        if not self._options.interpolate_from_desired_state:
            running.begin(now_ns, now_ns, measured)
            return
        since_ns = self._commanded_ns if self._release.remembers_command_time else now_ns
        running.begin(now_ns, since_ns or now_ns, as_point(commanded))

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

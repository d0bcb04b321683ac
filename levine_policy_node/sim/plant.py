# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as ros2_control sees it: arm, active controller, task and monitor.

One `step` is one cycle of the controller manager: read the encoders, update the controller, write
the servos, and let physics run until the next cycle.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from levine_policy_node.core.effort_limits import EffortOptions
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs, nanoseconds, seconds
from levine_policy_node.sim.arm import ArmOptions, JointReading, SceneState, SimArm
from levine_policy_node.sim.controller_trajectory import TrajectoryCommand
from levine_policy_node.sim.effort_arm import EffortArm
from levine_policy_node.sim.effort_checks import EffortCheck
from levine_policy_node.sim.effort_controller import EffortCommandController
from levine_policy_node.sim.forward_command_controller import ForwardCommandController
from levine_policy_node.sim.joint_trajectory_controller import JointTrajectoryController
from levine_policy_node.sim.limit_checks import SetpointCheck
from levine_policy_node.sim.monitor import CommandMonitor
from levine_policy_node.sim.scene import JOINT_NAMES
from levine_policy_node.sim.tasks import PickPlaceTask, Task

Controller = JointTrajectoryController | ForwardCommandController

_SILENT_PERIODS = 10


@dataclass(frozen=True, slots=True)
class PlantOptions:
    """How the plant differs from the nominal one.

    Attributes:
        period_ns: Cycle of the controller manager [ns].
        actuation_delay_s: From a controller's write until the servo has the setpoint [s].
        arm: Options of the arm itself.
        efforts: What efforts are judged by; None where the controller takes none.
    """

    period_ns: int
    actuation_delay_s: float = 0.0
    arm: ArmOptions = field(default_factory=ArmOptions)
    efforts: EffortOptions | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """How the current episode stands; the first verdict stays.

    Attributes:
        seed: What the start was drawn from.
        time_s: Since the reset [s].
        success: The task was done.
        failed: The task can no longer be done.
    """

    seed: int
    time_s: float
    success: bool = False
    failed: bool = False

    def to_json(self, scene: SceneState) -> str:
        """The text of `sim/episode`, with where everything in the scene really is."""
        return json.dumps(
            {
                "seed": self.seed,
                "time_s": round(self.time_s, 3),
                "success": self.success,
                "failed": self.failed,
                "qpos": [round(value, 6) for value in scene.qpos.tolist()],
            }
        )


class Plant:
    """Steps the simulated robot; arrays are in the joint order it was made with."""

    def __init__(
        self,
        controller: Controller,
        limits: JointLimits,
        options: PlantOptions,
        seed: int,
        now_ns: StampNs,
        task: Task | None = None,
    ) -> None:
        """Build the arm and start an episode.

        Args:
            controller: The active controller; its joints must be those of the arm.
            limits: What the monitor checks against, with the joints' own position range.
            options: See `PlantOptions`.
            seed: Of the first episode.
            now_ns: Time of the first cycle on the ROS clock.
            task: What episodes are about; pick and place unless given.

        Raises:
            SystemDependencyError: If MuJoCo is not installed.
        """
        self.controller = controller
        self.monitor = CommandMonitor()
        self._options = options
        if isinstance(controller, EffortCommandController):
            self._arm = EffortArm(options.arm)
            self._actuate = self._arm.push
        else:
            self._arm = SimArm(options.arm)
            self._actuate = self._arm.apply
        self.task: Task = task or PickPlaceTask()
        names = controller.joint_names
        self._to_arm = [names.index(name) for name in JOINT_NAMES]
        self._from_arm = [JOINT_NAMES.index(name) for name in names]
        self._check = SetpointCheck(limits)
        self._effort_check = options.efforts and EffortCheck(
            limits.names, options.efforts, options.period_ns
        )
        self._written: deque[tuple[int, FloatArray]] = deque()
        self._forward = np.zeros(len(names))
        self._forward_ns: SteadyNs | None = None
        self._forward_count = 0
        self.reset(seed, now_ns)

    def reset(self, seed: int, now_ns: StampNs) -> None:
        """Start an episode from `seed`: the arm jumps to its start and the controller holds."""
        self.task.reset(self._arm, seed)
        self.episode = Episode(seed, 0.0)
        self._begin_s = self._arm.time_s
        start = self._arm.setpoint[self._from_arm]
        self.controller.activate(start)
        self._written.clear()
        self._forward_count = 0
        self._forward_ns = None
        self._check.begin(start, self._check_stamp(now_ns))
        if self._effort_check is not None:
            self._effort_check.begin()
        self.monitor.interrupt()

    @property
    def controller_name(self) -> str:
        """Type of the active controller, as robot files call it."""
        trajectory = isinstance(self.controller, JointTrajectoryController)
        return "joint_trajectory" if trajectory else "forward_command"

    @property
    def physics_period_s(self) -> float:
        """Time step of the physics [s]."""
        return float(self._arm.model.opt.timestep)

    def read(self) -> JointReading:
        """What the encoders report now, each (J,)."""
        reading = self._arm.joint_reading()
        order = self._from_arm
        return JointReading(
            reading.position[order], reading.velocity[order], reading.effort[order]
        )

    def scene_state(self) -> SceneState:
        """What the cameras can see now."""
        return self._arm.scene_state()

    def receive_trajectory(
        self, command: TrajectoryCommand, now_ns: StampNs, received_ns: SteadyNs
    ) -> str | None:
        """Hand a trajectory to the controller; `now_ns` is ROS time, `received_ns` for the gaps.

        Returns:
            None if the controller accepted it, else why not.
        """
        if not isinstance(self.controller, JointTrajectoryController):
            return "joint_trajectory_controller is not active"
        reason = self.controller.receive(command, now_ns)
        self.monitor.received(received_ns, reason)
        return reason

    def receive_forward(self, values: FloatArray, received_ns: SteadyNs) -> str | None:
        """Hand a forward command (J,), [rad] or [N m], to the controller and the monitor.

        Both are checked against their limits. The sender's clock is not this one's, so the
        commands themselves are differenced, one period apart, and not the setpoints, of which one
        may repeat and the next be skipped. After a silence the arm has stood still at the last
        position.

        Returns:
            None if the controller accepted it, else why not.
        """
        if not isinstance(self.controller, ForwardCommandController):
            return "forward_command_controller is not active"
        reason = self.controller.receive(values)
        self.monitor.received(received_ns, reason)
        positions = not isinstance(self.controller, EffortCommandController)
        if reason is None and len(values) and positions:
            silent_ns = received_ns - (self._forward_ns or received_ns)
            if silent_ns > _SILENT_PERIODS * self._options.period_ns:
                for _ in range(3):
                    self._check_forward(self._forward)
            self._check_forward(values)
            self._forward, self._forward_ns = values, received_ns
        if reason is None and len(values) and self._effort_check is not None:
            self.monitor.record(self._effort_check.check(values, received_ns))
        return reason

    def step(self, now_ns: StampNs, reading: JointReading) -> None:
        """Run the cycle of `now_ns`, at which `reading` was taken, up to the next cycle."""
        setpoint = self.controller.update(now_ns, reading.position, reading.velocity)
        if isinstance(self.controller, JointTrajectoryController):
            self.monitor.record(self._check.check(setpoint, now_ns))
        # ros2_control's limiters skip a command that is not a number; the servo keeps the last.
        if np.all(np.isfinite(setpoint)) or isinstance(self._arm, EffortArm):
            due_ns = now_ns + nanoseconds(self._options.actuation_delay_s)
            self._written.append((due_ns, setpoint[self._to_arm]))
        self._advance(now_ns)
        self._judge()

    def _advance(self, now_ns: StampNs) -> None:
        at_ns, end_ns = int(now_ns), now_ns + self._options.period_ns
        while self._written and self._written[0][0] < end_ns:
            due_ns, setpoint = self._written.popleft()
            if due_ns > at_ns:
                self._arm.advance(seconds(due_ns - at_ns))
                at_ns = due_ns
            self._actuate(setpoint)
        self._arm.advance(seconds(end_ns - at_ns))

    def _judge(self) -> None:
        success, failed = self.episode.success, self.episode.failed
        if not success and not failed:
            success = self.task.succeeded(self._arm)
            failed = not success and self.task.failed(self._arm)
        time_s = self._arm.time_s - self._begin_s
        self.episode = Episode(self.episode.seed, time_s, success, failed)

    def _check_forward(self, values: FloatArray) -> None:
        self._forward_count += 1
        stamp_ns = self._check_stamp(StampNs(0))
        self.monitor.record(self._check.check(values, stamp_ns))

    def _check_stamp(self, now_ns: StampNs) -> StampNs:
        """Forward commands are counted, not timed; see `receive_forward`."""
        if isinstance(self.controller, ForwardCommandController):
            return StampNs(self._forward_count * self._options.period_ns)
        return now_ns


def hard_limits(limits: JointLimits, position_margin: FloatArray | float) -> JointLimits:
    """The joints' own range, which `limits` insets by `position_margin` [rad]."""
    return replace(
        limits, lower=limits.lower - position_margin, upper=limits.upper + position_margin
    )


def check_joints(names: Sequence[str]) -> str | None:
    """Say what is wrong with a robot's joints for this arm, or None."""
    if sorted(names) == sorted(JOINT_NAMES):
        return None
    return f"the simulated arm has {', '.join(JOINT_NAMES)}; found {', '.join(names)}"

# SPDX-License-Identifier: Apache-2.0
"""The controller of one release, and what its manager does when something fails.

How controllers behave is in `sim/controller_semantics.py`, read in their sources. The manager
adds what happens around them: a controller that is not active hears nothing; one that is
activated again holds where the arm is; a hardware error ends the controllers that use it, except
on Humble, which leaves them active and the hardware deaf (ros2_control #1873).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.sim.controller_semantics import SEMANTICS, Distribution
from levine_policy_node.sim.controller_trajectory import TrajectoryCommand, command_of
from levine_policy_node.sim.forward_command_controller import ForwardCommandController
from levine_policy_node.sim.joint_trajectory_controller import (
    JointTrajectoryController,
    TrajectoryControllerOptions,
)

ControllerKind = Literal["joint_trajectory", "forward_command"]
Command = Timeline[StampNs] | TrajectoryCommand | FloatArray
"""What may arrive on a controller's topic."""


@dataclass(frozen=True, slots=True)
class ControllerChoice:
    """Which controller, as which release has it."""

    kind: ControllerKind = "joint_trajectory"
    release: Distribution = "jazzy"

    def __str__(self) -> str:
        return f"{self.kind}@{self.release}"


class ControllerManager:
    """One controller between the topic and the servos.

    Attributes:
        active: Whether the controller is active.
        healthy: Whether the hardware takes commands.
        rejects: Whether every trajectory is refused, as one whose joints are not known is; the
            topic tells nobody.
    """

    def __init__(
        self, choice: ControllerChoice, joint_names: tuple[str, ...], period_ns: int
    ) -> None:
        self.choice = choice
        self.active = True
        self.healthy = True
        self.rejects = False
        self._release = SEMANTICS[choice.release]
        self._setpoint = np.zeros(len(joint_names))
        self._controller: JointTrajectoryController | ForwardCommandController
        if choice.kind == "joint_trajectory":
            # Where a release can blend, our documents ask for it to be off.
            options = TrajectoryControllerOptions(
                semantics=choice.release, allow_trajectory_replacement=False
            )
            self._controller = JointTrajectoryController(joint_names, period_ns, options)
        else:
            self._controller = ForwardCommandController(joint_names, choice.release)

    @property
    def reference(self) -> FloatArray | None:
        """What the controller says it commands (J,) [rad]; None where it says nothing."""
        controller = self._controller
        if not self.active or not isinstance(controller, JointTrajectoryController):
            return None
        return None if controller.reference is None else controller.reference.position

    @property
    def tells_activity(self) -> bool:
        """Whether the release's manager publishes which controllers are active."""
        return self.choice.release != "humble"

    def activate(self, position: FloatArray) -> None:
        """Activate, holding `position` (J,) [rad]."""
        self.active = True
        self._setpoint = np.array(position)
        self._controller.activate(position)

    def deactivate(self) -> None:
        """Deactivate; the servos keep what they were told last."""
        self.active = False

    def fail(self) -> None:
        """The hardware reports an error."""
        self.healthy = False
        if self._release.error_deactivates:
            self.deactivate()

    def receive(self, message: Command, now_ns: StampNs) -> str:
        """Take a message; return why it is ignored, or ""."""
        if not self.active:
            return "the controller is not active"
        if self.rejects:
            return "rejected"
        controller = self._controller
        if isinstance(controller, JointTrajectoryController):
            if isinstance(message, np.ndarray):
                return "not a trajectory"
            command = message if isinstance(message, TrajectoryCommand) else _command(message)
            return controller.receive(command, now_ns) or ""
        if not isinstance(message, np.ndarray):
            return "not an array"
        return controller.receive(message) or ""

    def update(self, now_ns: StampNs, position: FloatArray, velocity: FloatArray) -> FloatArray:
        """Run one control cycle and return the setpoint of the servos (J,) [rad]."""
        if self.active:
            found = self._controller.update(now_ns, position, velocity)
            if isinstance(self._controller, ForwardCommandController):
                self.active = self._controller.active
            if self.healthy:
                self._setpoint = np.array(found)
        return self._setpoint


def _command(window: Timeline[StampNs]) -> TrajectoryCommand:
    return command_of(window)  # type: ignore[arg-type]

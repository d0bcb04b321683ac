# SPDX-License-Identifier: Apache-2.0
"""forward_command_controller as ROS 2 Jazzy ships it, for position interfaces.

Behaviour was read in ros2_controllers, branch jazzy (`forward_controllers_base.cpp`): the latest
message is written every cycle and held for ever. A message of the wrong size makes `update` fail,
on which the controller manager deactivates the controller: from then on nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from levine_policy_node.core.units import FloatArray, StampNs


class ForwardCommandController:
    """Writes the newest finite command to the servos."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        """Create the controller, inactive until `activate`.

        Args:
            joint_names: J joints, the order of every array it takes and returns.
        """
        self.joint_names = tuple(joint_names)
        self.active = False
        self._command: FloatArray | None = None
        self._written: FloatArray | None = None

    def activate(self, position: FloatArray) -> None:
        """Forget every command and hold `position` (J,) [rad]."""
        self.active = True
        self._command = None
        self._written = np.array(position, dtype=np.float64)

    def receive(self, values: FloatArray) -> str | None:
        """Take a command (J,) [rad] from the topic; the next `update` writes it.

        Returns:
            None if it will be written, else why not (the sender is told nothing).
        """
        if not self.active:
            return "the controller is not active"
        if not np.all(np.isfinite(values)):
            return "a value is not finite"
        # An empty message counts as none received, whatever was there before.
        self._command = np.array(values, dtype=np.float64) if len(values) else None
        if len(values) not in {0, len(self.joint_names)}:
            return f"{len(values)} values for {len(self.joint_names)} joints"
        return None

    def update(self, now_ns: StampNs, position: FloatArray, velocity: FloatArray) -> FloatArray:
        """Run one control cycle and return the setpoint, shape (J,) [rad].

        The measured state is not used; the arguments are those every controller gets.

        Raises:
            RuntimeError: If the controller was never activated.
        """
        del now_ns, position, velocity
        if self._written is None:
            raise RuntimeError("forward_command_controller: update before activate")
        if self.active and self._command is not None:
            if len(self._command) == len(self.joint_names):
                self._written = self._command
            else:
                self.active = False
        return self._written

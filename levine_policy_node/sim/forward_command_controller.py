# SPDX-License-Identifier: Apache-2.0
"""forward_command_controller, for position interfaces.

Behaviour was read in ros2_controllers, `forward_controllers_base.cpp` (`controller_semantics`
says where): the latest message is written every cycle and held for ever; there is no timeout. A
message of the wrong size makes `update` fail. From Jazzy on the controller manager then
deactivates the controller, and nothing moves any more; Humble's ignores it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.sim.controller_semantics import SEMANTICS, Distribution


class ForwardCommandController:
    """Writes the newest command to the servos."""

    def __init__(self, joint_names: Sequence[str], semantics: Distribution = "jazzy") -> None:
        """Create the controller, inactive until `activate`.

        Args:
            joint_names: J joints, the order of every array it takes and returns.
            semantics: Whose behaviour it has.
        """
        self.joint_names = tuple(joint_names)
        self.active = False
        self._release = SEMANTICS[semantics]
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
        if self._release.drops_nonfinite and not np.all(np.isfinite(values)):
            return "a value is not finite"
        self._command = np.array(values, dtype=np.float64)
        if len(values) == 0 and self._release.drops_nonfinite:
            # "All values are NaN" is how these releases say that none was received.
            self._command = None
            return None
        if len(values) != len(self.joint_names):
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
            elif self._release.error_deactivates:
                self.active = False
        return self._written

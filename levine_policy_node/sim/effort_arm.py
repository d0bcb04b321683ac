# SPDX-License-Identifier: Apache-2.0
"""The arm with drives that take torques, and hold with their servos while nobody pushes.

Gravity is compensated in the model itself (`gravcomp` of every link), as the drives of a Franka
arm do and the counterweights of a PR2: at an effort of 0 the arm stays where it is.
"""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.sim.arm import ArmOptions, JointReading, SimArm


class EffortArm(SimArm):
    """SO-101 whose joints can be pushed; otherwise as `SimArm`."""

    def __init__(self, options: ArmOptions | None = None) -> None:
        self._pushed: FloatArray | None = None
        super().__init__(options)
        self._gain = self.model.actuator_gainprm.copy()
        self._bias = self.model.actuator_biasprm.copy()

    def reset(self, seed: int, position: FloatArray | None = None) -> None:
        """As `SimArm.reset`; nobody pushes."""
        if self._pushed is not None:
            self._use_servos()
        super().reset(seed, position)

    def push(self, efforts: FloatArray) -> None:
        """Push with efforts (J,) [N m] until told otherwise; NaN lets the servos hold the arm."""
        if np.all(np.isfinite(efforts)):
            if self._pushed is None:
                self.model.actuator_gainprm[:] = 0.0
                self.model.actuator_biasprm[:] = 0.0
            self._pushed = np.array(efforts, dtype=np.float64)
            self.data.qfrc_applied[self._dof] = self._pushed
        elif self._pushed is not None:
            self._use_servos()
            self.apply(self.data.qpos[self._qpos])

    def joint_reading(self) -> JointReading:
        """As `SimArm.joint_reading`, with the efforts it is pushed with."""
        reading = super().joint_reading()
        if self._pushed is None:
            return reading
        return JointReading(reading.position, reading.velocity, self._pushed.copy())

    def _use_servos(self) -> None:
        self._pushed = None
        self.data.qfrc_applied[self._dof] = 0.0
        self.model.actuator_gainprm[:] = self._gain
        self.model.actuator_biasprm[:] = self._bias

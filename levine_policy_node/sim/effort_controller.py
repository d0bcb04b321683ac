# SPDX-License-Identifier: Apache-2.0
"""forward_command_controller on effort interfaces, before drives that notice silence.

The controller is the stock one and writes the last effort for ever. What makes it usable is on the
robot's side: drives that brake when no message has come for a time. It is messages that count and
not writes, which the controller goes on with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.sim.controller_semantics import Distribution
from levine_policy_node.sim.forward_command_controller import ForwardCommandController


class EffortCommandController(ForwardCommandController):
    """Writes the newest efforts to the drives, and NaN while these brake by themselves."""

    def __init__(
        self, joint_names: Sequence[str], timeout_ns: int, semantics: Distribution = "jazzy"
    ) -> None:
        """Create the controller, inactive until `activate`.

        Args:
            joint_names: J joints, the order of every array it takes and returns.
            timeout_ns: Silence after which the drives brake [ns].
            semantics: Whose behaviour it has.
        """
        super().__init__(joint_names, semantics)
        self._timeout_ns = timeout_ns
        self._heard = False
        self._heard_ns: StampNs | None = None

    def activate(self, position: FloatArray) -> None:
        """Forget every command; the drives hold the arm where it is."""
        super().activate(np.full(len(position), np.nan))
        self._heard, self._heard_ns = False, None

    def receive(self, values: FloatArray) -> str | None:
        """Take efforts (J,) [N m]; see `ForwardCommandController.receive`."""
        reason = super().receive(values)
        self._heard |= reason is None
        return reason

    def update(self, now_ns: StampNs, position: FloatArray, velocity: FloatArray) -> FloatArray:
        """The efforts of this cycle, shape (J,) [N m]; NaN where the drives are to brake."""
        written = super().update(now_ns, position, velocity)
        if self._heard:
            self._heard, self._heard_ns = False, now_ns
        silent = self._heard_ns is None or now_ns - self._heard_ns > self._timeout_ns
        return np.full(len(written), np.nan) if silent else written

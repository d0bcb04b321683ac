# SPDX-License-Identifier: Apache-2.0
"""A program in a person's place, such as the scripted expert of the simulated arm.

It is made in a program and given to the node `operator` (`nodes.operator.Operator(device=...)`):
what a policy learns from it then came the way a person's corrections come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from levine_policy_node.core.dead_man import Act
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.devices.device import JointPositions, Reading


class Scripted:
    """Says what a function says, while it is told to hold on.

    Attributes:
        name: Of the source tag.
        held: Whether the dead-man is pressed.
    """

    def __init__(self, name: str, wanted: Callable[[SteadyNs], Mapping[str, float]]) -> None:
        """Make a device.

        Args:
            name: Of the source tag.
            wanted: Where the joints are to be by now, by name [rad].
        """
        self.name = name
        self.held = False
        self._wanted = wanted
        self._acts: frozenset[Act] = frozenset()

    def ask(self, act: Act) -> None:
        """Press a button."""
        self._acts |= {act}

    def read(self, now_ns: SteadyNs) -> Reading:
        """What the function says now."""
        acts, self._acts = self._acts, frozenset()
        return Reading(now_ns, self.held, JointPositions(self._wanted(now_ns)), acts)

    def close(self) -> None:
        """Nothing was opened."""

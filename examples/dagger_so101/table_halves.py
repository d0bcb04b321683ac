# SPDX-License-Identifier: Apache-2.0
"""Which scenes have their cube on the half of the table that the policy knows."""

from __future__ import annotations

from itertools import count, islice

from levine_policy_node.sim.arm import SimArm
from levine_policy_node.sim.tasks import PickPlaceTask, cube_position

KNOWN_BELOW_Y = -0.05
"""The policy knows cubes with a smaller y only [m]; they lie from -0.13 to 0.03."""


class TableHalves:
    """Sorts scenes by where their cube lies."""

    def __init__(self) -> None:
        self._arm = SimArm()
        self._task = PickPlaceTask()

    def seeds(self, first: int, number: int, *, known: bool) -> tuple[int, ...]:
        """The first `number` seeds from `first` on whose cube lies on the wanted half."""
        wanted = (seed for seed in count(first) if self._is_known(seed) is known)
        return tuple(islice(wanted, number))

    def _is_known(self, seed: int) -> bool:
        self._task.reset(self._arm, seed)
        return bool(cube_position(self._arm)[1] < KNOWN_BELOW_Y)

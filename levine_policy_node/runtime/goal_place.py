# SPDX-License-Identifier: Apache-2.0
"""Where the hand is to be, as columns of an observation."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.core.moments import Moment
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ObservationError


@dataclass(frozen=True, slots=True)
class GoalPlace:
    """The goal as it was told.

    Attributes:
        frame: What the policy takes it in.
    """

    frame: str

    def values(self, moment: Moment) -> FloatArray:
        """Shape (3,) [m]."""
        goal = moment.observation.goal
        if goal is None:
            raise ObservationError("the policy waits for a goal; publish it on the topic 'goal'")
        if goal.frame != self.frame:
            raise ObservationError(
                f"the goal is in frame '{goal.frame}', and the policy takes it in '{self.frame}'"
            )
        return goal.position

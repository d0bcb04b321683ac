# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of reaching, for the families that are trained on it.

The expert has no memory: what it does next depends on where the arm is and must go. So states need
not be visited to be labelled; they are drawn around the ways from home to the places, and wider
than a perfect demonstration goes, as disturbances would take it (Laskey et al., DART, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.sim.arm import HOME_POSITION
from levine_policy_node.sim.reach import ReachExpert

_GOAL_LOW, _GOAL_HIGH = np.array([0.14, -0.16, 0.07]), np.array([0.28, 0.16, 0.19])
_OFF_RAD = 0.05


@dataclass(frozen=True)
class ReachSamples:
    """N labelled states.

    Attributes:
        position: Joints (N, 6) [rad].
        goal: Where the hand is to be (N, 3) [m].
        posture: Joints with the hand there (N, 6) [rad].
        rows: The expert's next joint targets (N, T, 6) [rad], 0.1 s apart.
    """

    position: npt.NDArray[np.float64]
    goal: npt.NDArray[np.float64]
    posture: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]


def reach_samples(places: int, states: int, *, rows: int, seed: int) -> ReachSamples:
    """Draw `places` goals, and `states` states on the way to each, labelled by the expert."""
    rng = np.random.default_rng(seed)
    expert, home = ReachExpert(), np.array(HOME_POSITION)
    made: list[tuple[np.ndarray, ...]] = []
    for _ in range(places):
        goal = rng.uniform(_GOAL_LOW, _GOAL_HIGH)
        posture = expert.posture(goal)
        for along in rng.uniform(0.0, 1.1, states):
            off = rng.normal(0.0, _OFF_RAD, 6) * (1.1 - along)
            position = home + along * (posture - home) + off
            made.append((position, goal, posture, expert.rows(position, posture, rows)))
    return ReachSamples(*(np.stack(column) for column in zip(*made, strict=True)))

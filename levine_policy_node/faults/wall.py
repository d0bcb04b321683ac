# SPDX-License-Identifier: Apache-2.0
"""A wall in the way of one joint, as the checks of the surroundings know bodies and places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.units import FloatArray
from levine_policy_node.dst.world import World, starting_pose

_AWAY_RAD, _MARGIN_RAD = 0.35, 0.02
# What the policy wants on the other side of it.
_BEYOND_RAD = 1.0


@dataclass(frozen=True, slots=True)
class Wall:
    """The first joint must not come nearer to `at` than the margin [rad].

    Attributes:
        at: Where it stands.
        joints: How many the arm has.
    """

    at: float
    joints: int

    @property
    def margins(self) -> FloatArray:
        """Least distance (1,)."""
        return np.array([_MARGIN_RAD])

    @property
    def reach(self) -> FloatArray:
        """How the distance changes with each joint, at most (1, J)."""
        return np.eye(1, self.joints)

    @property
    def hand_reach(self) -> FloatArray:
        """Nobody limits the hand (J,)."""
        return np.ones(self.joints)

    @property
    def tool_speed(self) -> float:
        """Nobody limits the hand."""
        return float("inf")

    def distances(self, position: FloatArray) -> FloatArray:
        """Of the first joint (1,)."""
        return np.array([self.at - position[0]])

    def hand_speed(self, position: FloatArray, velocity: FloatArray) -> float:
        """Nobody limits the hand."""
        del position, velocity
        return 0.0

    def say(self, pair: int, distance: float) -> str:
        """What is too near."""
        del pair
        return f"the wall would be {distance:.3f} away"


def beside_a_wall(options: SupervisorOptions) -> SupervisorOptions:
    """The arm begins a third of a radian from it."""
    at = float(starting_pose(options)[0]) + _AWAY_RAD
    return replace(options, obstacles=Wall(at, len(options.limits.names)))


def into_the_wall(world: World) -> None:
    """From now on the network wants the first joint to be behind it."""

    def moved(rows: FloatArray) -> FloatArray:
        shift = np.zeros(rows.shape[1])
        shift[0] = _BEYOND_RAD
        return rows + shift

    world.policy.rows = moved


def through_the_wall(world: World) -> str:
    """Say if the first joint was ever told to come too near, else ""."""
    wall = world.setup.options.obstacles
    assert isinstance(wall, Wall)
    told = [record.values[1][0] for record in world.trace.of("command")]
    told += [record.values[1].positions[:, 0].max() for record in world.trace.of("window")]
    nearest = wall.at - max(told)
    return "" if nearest >= _MARGIN_RAD else f"told to come to {nearest:.4f} rad from the wall"

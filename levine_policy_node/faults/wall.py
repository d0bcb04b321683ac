# SPDX-License-Identifier: Apache-2.0
"""A wall in the way of one joint, as the checks of the surroundings know bodies and places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.units import FloatArray
from levine_policy_node.dst.policy import ROW_S
from levine_policy_node.dst.world import World, starting_pose

_AWAY_RAD, _MARGIN_RAD = 0.35, 0.02
# How fast the network goes there, of the velocity limit.
_SHARE = 0.2


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
    """From now on the network leads the first joint to the wall and on."""
    speed = _SHARE * float(world.setup.options.limits.velocity[0])
    began_s = world.now_s

    def led(rows: FloatArray) -> FloatArray:
        times_s = world.now_s - began_s + ROW_S * np.arange(len(rows))
        shift = np.zeros_like(rows)
        shift[:, 0] = speed * times_s
        return rows + shift

    world.policy.rows = led


def through_the_wall(world: World) -> str:
    """Say if the first joint was ever told to come too near, or nobody saw the wall, else ""."""
    wall = world.setup.options.obstacles
    if not isinstance(wall, Wall):
        return "there is no wall"
    told = [record.values[1][0] for record in world.trace.of("command")]
    told += [record.values[1].positions[:, 0].max() for record in world.trace.of("window")]
    nearest = wall.at - max(told)
    if nearest < _MARGIN_RAD:
        return f"told to come to {nearest:.4f} rad from the wall"
    seen = any("the wall" in str(record.values[1]) for record in world.trace.of("note", "fault"))
    return "" if seen else "it stopped for something else"

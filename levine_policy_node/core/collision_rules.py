# SPDX-License-Identifier: Apache-2.0
"""How far a motion stays clear: of the arm's own bodies, of its surroundings, of its workspace.

The motion is looked at from its beginning, and each look is worth as much as there is room: no two
bodies come closer to each other than they were by more than the joints let them travel, so between
two looks with room s and t nothing is missed while they travel no farther than s + t (Schwarzer,
Saha and Latombe, Adaptive dynamic collision checking for single and multiple articulated robots
in complex environments, 2005). What is called clear is therefore clear everywhere and not only
where it was looked at. Whatever cannot be judged counts as not clear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray

CELL_S = 0.01
"""No look is nearer to the last than this [s]; closer motion cannot be shown to be clear."""

# A motion that needs more is clear as far as was looked; 0.02 ms each.
_MOST_LOOKS = 250
# Samples that one look may skip.
_WINDOW = 80
# While looks are cheap to lose, half of the room is hoped to be there on the other side, too.
_HOPE = 2.0
_SPEED_TOLERANCE = 0.01
# What nobody measures [m].
_NOTHING = 1e-9
# How much nearer than at its start a motion may come that begins too near [m].
_LEAVING_ROOM = 0.002


class Obstacles(Protocol):
    """What is known of bodies and places, for P pairs and J joints."""

    @property
    def margins(self) -> FloatArray:
        """Least distance of each pair (P,) [m]."""
        ...

    @property
    def reach(self) -> FloatArray:
        """How far a pair moves against each other per joint, at most (P, J) [m/rad]."""
        ...

    @property
    def hand_reach(self) -> FloatArray:
        """How far the hand moves per joint, at most (J,) [m/rad]."""
        ...

    @property
    def tool_speed(self) -> float:
        """Largest speed of the hand [m/s]; infinite if it is not limited."""
        ...

    def distances(self, position: FloatArray) -> FloatArray:
        """Signed distance of each pair (P,) [m] at joint positions (J,) [rad]."""
        ...

    def hand_speed(self, position: FloatArray, velocity: FloatArray) -> float:
        """Speed of the hand [m/s] at joint positions and velocities (J,) each."""
        ...

    def say(self, pair: int, distance: float) -> str:
        """What it means that a pair is at a distance, for people."""
        ...


@dataclass(frozen=True, slots=True)
class Breach:
    """Where a motion stops being clear.

    Attributes:
        index: Last sample up to which it is.
        text: What is in the way.
    """

    index: int
    text: str


def first_breach(
    motion: JointPoint, period_s: float, around: Obstacles, *, leaving: bool = False
) -> Breach | None:
    """Find where a motion comes too near to something, or None if it never does.

    Args:
        motion: At N equally spaced times at most `CELL_S` apart, (N, J) each.
        period_s: Time between them [s].
        around: What to stay clear of.
        leaving: Whether it may begin too near, if it does not come nearer than that.
    """
    position, last = motion.position, len(motion.position) - 1
    if not np.isfinite(position).all():
        return Breach(0, "the motion is not finite")
    travelled = _travelled(motion, period_s, around.reach)
    room = around.distances(position[0])
    margins = np.minimum(around.margins, room - _LEAVING_ROOM) if leaving else around.margins
    here, room, looks = 0, room - margins, 1
    # Written so that NaN counts as too near.
    if not room.min() >= 0.0:
        return _breach(0, room, margins, around)
    while here < last:
        ahead = travelled[:, here : here + _WINDOW] - travelled[:, here : here + 1]
        # How much of the room is used up, at most, when each sample is reached.
        used = (ahead / np.maximum(room, _NOTHING)[:, None]).max(axis=0)
        sure = int(used.searchsorted(1.0, side="right")) - 1
        if here + sure >= last:
            return None
        hoped = int(used.searchsorted(_HOPE, side="right")) - 1
        for step in (max(hoped, 1), max(sure, 1)):
            there = around.distances(position[here + step]) - margins
            left = np.minimum(there, room + there - ahead[:, step])
            looks += 1
            if left.min() >= 0.0:
                break
        else:
            # What is seen there says more than what may have been between.
            return _breach(here, np.where(there < 0.0, there, left), margins, around)
        here, room = here + step, there
        if looks >= _MOST_LOOKS and here < last:
            return Breach(here, "the way is too long or too narrow to be checked in time")
    return None


def _travelled(motion: JointPoint, period_s: float, reach: FloatArray) -> FloatArray:
    """How far each pair has moved against each other since the beginning, at most (P, N) [m].

    Between two samples a joint strays from the line between them by at most a T^2 / 8.
    """
    moved = np.abs(np.diff(motion.position, axis=0))
    bend = np.abs(motion.acceleration)
    moved += np.maximum(bend[1:], bend[:-1]) * (0.25 * period_s * period_s)
    travelled = np.zeros((len(reach), len(motion.position)))
    np.cumsum(reach @ moved.T, axis=1, out=travelled[:, 1:])
    return travelled


def _breach(index: int, room: FloatArray, margins: FloatArray, around: Obstacles) -> Breach:
    pair = int(np.argmin(np.nan_to_num(room, nan=-np.inf)))
    return Breach(index, around.say(pair, float(room[pair] + margins[pair])))


@dataclass(frozen=True, slots=True)
class TooFast:
    """Where the hand becomes too fast.

    Attributes:
        index: The last sample before.
        peak: Its largest speed [m/s].
        text: For people.
    """

    index: int
    peak: float
    text: str


def too_fast(motion: JointPoint, around: Obstacles) -> TooFast | None:
    """Find where the hand is faster than it may be, to within a hundredth, or None.

    From a look on the hand's speed grows by no more than the joints' speeds and the turning of
    the arm let it; only where that does not suffice there is another look.

    Args:
        motion: At N times, (N, J) each.
        around: Says how fast the hand may be.
    """
    position, velocity = motion.position, motion.velocity
    allowed = around.tool_speed * (1.0 + _SPEED_TOLERANCE)
    most = np.abs(velocity) @ around.hand_reach
    here = _next_beyond(most, 0, allowed)
    while here < len(most):
        speed = around.hand_speed(position[here], velocity[here])
        # Written so that NaN counts as too fast.
        if not speed <= allowed:
            may_be = ~(most <= allowed)
            moving = zip(position[may_be], velocity[may_be], strict=True)
            peak = max(around.hand_speed(p, v) for p, v in moving)
            text = f"the hand would move at {peak:.2f} m/s (limit {around.tool_speed:g} m/s)"
            return TooFast(max(0, here - 1), peak, text)
        ahead = slice(here, here + _WINDOW)
        faster = np.abs(velocity[ahead] - velocity[here]) @ around.hand_reach
        turned = np.abs(position[ahead] - position[here]).sum(axis=1)
        grown = np.minimum(speed + faster + turned * most[ahead], most[ahead])
        # Within rounding of where it was looked at there is nothing to look at again.
        here += _next_beyond(grown, 1, allowed)
    return None


def _next_beyond(values: FloatArray, begin: int, allowed: float) -> int:
    """Index from `begin` on of the first value that is not within what is allowed, or the end."""
    beyond = ~(values[begin:] <= allowed)
    return begin + int(beyond.argmax()) if beyond.any() else len(values)

# SPDX-License-Identifier: Apache-2.0
"""Whether there can be a stop from a state at all, without looking for one.

Both conditions are necessary ones. An acceleration takes time to end, and until then it changes
the velocity by a |a| / (2 j). And no joint comes to rest sooner than with all of its jerk and
deceleration: in three parts of constant jerk -j, 0, j, of which the second may be missing.
"""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray

# Wider than what `core/limits.py` tolerates: what is in doubt is looked for.
_RELATIVE = 1e-4
_POSITION = 1e-6


def may_stop(state: JointPoint, limits: JointLimits) -> bool:
    """Whether a stop from `state` may exist within the limits; False is certain.

    Args:
        state: Position, velocity and acceleration, each (J,).
        limits: What the arm may be asked to do.
    """
    peak = state.velocity + _change(state.acceleration, limits.jerk)
    if np.any(np.abs(peak) > (1.0 + _RELATIVE) * limits.velocity):
        return False
    end = state.position + stop_distance(state.velocity, state.acceleration, limits)
    below, above = end < limits.lower - _POSITION, end > limits.upper + _POSITION
    return not np.any(below | above)


def stop_distance(
    velocity: FloatArray, acceleration: FloatArray, limits: JointLimits
) -> FloatArray:
    """How far each joint goes until it rests, if it stops as soon as it can, shape (J,) [rad].

    Args:
        velocity: Shape (J,) [rad/s].
        acceleration: Shape (J,) [rad/s^2], within the limits.
        limits: Of acceleration and jerk.
    """
    a_max, jerk = limits.acceleration, limits.jerk
    forward = np.where(velocity + _change(acceleration, jerk) >= 0.0, 1.0, -1.0)
    v, a = forward * velocity, forward * acceleration
    peak = np.minimum(np.sqrt(np.maximum(jerk * v + 0.5 * a * a, 0.0)), a_max)
    t = np.maximum(a + peak, 0.0) / jerk
    moved = t * (v + t * (0.5 * a - t * jerk / 6.0))
    v = v + t * (a - 0.5 * t * jerk)
    last = peak / jerk
    ending = 0.5 * peak * last
    # The second part is there only if all of the deceleration is used.
    t = np.maximum(v - ending, 0.0) / a_max
    moved = moved + t * (v - 0.5 * t * peak)
    return forward * (moved + peak * last * last / 6.0)


def _change(acceleration: FloatArray, jerk: FloatArray) -> FloatArray:
    """By how much a velocity changes until its acceleration has ended, at least."""
    return acceleration * np.abs(acceleration) / (2.0 * jerk)

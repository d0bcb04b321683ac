# SPDX-License-Identifier: Apache-2.0
"""What bounds an effort: how large, how fast it changes, and where the arm itself may be.

A command of position can be checked before it is sent; an effort cannot be, since what it does
depends on the arm. So the measured motion is watched instead, and the arm is braked while there is
still room to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray

# Where an arm that was stopped at its range is held, so that it can be armed again.
_INSIDE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class EffortOptions:
    """Of an arm that takes efforts; all arrays (J,).

    Attributes:
        largest: Magnitude of the effort [N m].
        rate: How fast it may change [N m/s].
        stiffness: Of holding a position [N m/rad].
        damping: Of holding, and of braking [N m s/rad].
        timeout_s: After so long without a message the robot itself stops pushing [s].
    """

    largest: FloatArray
    rate: FloatArray
    stiffness: FloatArray
    damping: FloatArray
    timeout_s: float = 0.1


def impedance(
    command: JointPoint, position: FloatArray, velocity: FloatArray, options: EffortOptions
) -> FloatArray:
    """A spring and a damper that pull the arm to the commanded motion, shape (J,) [N m].

    Joint impedance control (Hogan, Impedance Control, 1985) without a term for gravity, which the
    robot compensates itself. With the command at rest where the arm is, it only brakes.

    Args:
        command: Where the arm should be, and how fast.
        position: Measured, shape (J,) [rad].
        velocity: Measured, shape (J,) [rad/s].
        options: Stiffness and damping.
    """
    pull = options.stiffness * (command.position - position)
    return pull + options.damping * (command.velocity - velocity)


def bounded(
    asked: FloatArray, before: FloatArray | None, passed_s: float, options: EffortOptions
) -> FloatArray:
    """The nearest effort to `asked` (J,) [N m] that may be sent.

    Args:
        asked: Finite.
        before: What was sent `passed_s` [s] ago; None if nothing was, and the arm is not pushed.
        passed_s: Longer than a tick counts as a tick would, so that a late one makes no step.
        options: Bounds.
    """
    limited = np.clip(asked, -options.largest, options.largest)
    last = np.zeros_like(limited) if before is None else before
    step = options.rate * passed_s
    return np.clip(limited, last - step, last + step)


def held_position(position: FloatArray, limits: JointLimits) -> FloatArray:
    """Where to hold an arm that is here, shape (J,) [rad]: here, or just inside its range."""
    return np.clip(position, limits.lower + _INSIDE, limits.upper - _INSIDE)


def running_away(position: FloatArray, velocity: FloatArray, limits: JointLimits) -> str:
    """Say which joint is too fast, or can no longer be stopped inside its range; else "".

    Braked with the acceleration limit a from the speed v it comes to rest v^2 / 2a farther on.

    Args:
        position: Measured, shape (J,) [rad].
        velocity: Measured, shape (J,) [rad/s].
        limits: Of the robot file.
    """
    most = limits.velocity
    if limits.by_position is not None:
        up, down = limits.by_position.upwards(position), limits.by_position.downwards(position)
        most = np.minimum(most, np.where(velocity > 0.0, up, down))
    # Written so that NaN is too fast, and standing never is.
    fast = ~(np.abs(velocity) <= most)
    if fast.any():
        worst = int(np.argmax(fast))
        return (
            f"{limits.names[worst]} turns at {velocity[worst]:.3g} rad/s (limit {most[worst]:.3g})"
        )
    rest = position + velocity * np.abs(velocity) / (2.0 * limits.acceleration)
    outside = limits.outside(rest)
    return f"braked now, {outside}" if outside else ""

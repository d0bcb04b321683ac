# SPDX-License-Identifier: Apache-2.0
"""The last check before anything is sent, independent of how it was made.

The shaper is meant never to trip it. If it does, nothing is sent: what was sent before ends at
rest by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from levine_policy_node.core.limits import ROUNDING, TOLERANCE, JointLimits, first_excess
from levine_policy_node.core.position_based_velocity import (
    BRAKING_SHARE,
    PositionBasedVelocity,
)
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import NS_PER_S, FloatArray, SteadyNs

TICKS_COMPARED = 3
_SEAM_TOLERANCE = (1e-8, 1e-6, 1e-4)
_SLACK = 1e-3

_KINDS = ("position", "velocity", "acceleration", "jerk")
_FACTORIALS = (1.0, 2.0, 6.0)

Tick = tuple[int, FloatArray]
"""Time [ns, steady] and commanded position (J,) [rad] of one tick."""


def window_trip(
    window: Timeline[SteadyNs],
    sent: Timeline[SteadyNs] | None,
    seams_ns: Sequence[SteadyNs],
    limits: JointLimits,
) -> str:
    """Say why a window must not be sent, or return "".

    Args:
        window: What is about to be sent.
        sent: What the controller is executing, None if nothing.
        seams_ns: Times at which the controller may begin to follow `window`.
        limits: What the arm may be asked to do.
    """
    if window.joint_names != limits.names:
        return f"joints are {list(window.joint_names)}"
    excess = first_excess(window, limits)
    if excess is not None:
        return str(excess)
    if np.any(window.velocities[-1] != 0.0) or np.any(window.accelerations[-1] != 0.0):
        return "the window does not end at rest"
    if sent is None:
        moving = np.any(window.velocities[0] != 0.0) or np.any(window.accelerations[0] != 0.0)
        return "the first window does not start at rest" if moving else ""
    trips = (seam_trip(sent.sample(t), window.sample(t), limits) for t in seams_ns)
    return next((trip for trip in trips if trip), "")


def seam_trip(old: JointPoint, new: JointPoint, limits: JointLimits) -> str:
    """Say which joint would jump from state `old` to state `new`, or return ""."""
    for kind, tolerance in zip(_KINDS[:3], _SEAM_TOLERANCE, strict=True):
        gap = np.abs(getattr(new, kind) - getattr(old, kind))
        worst = int(np.argmax(gap))
        if not gap[worst] <= tolerance:
            return f"{limits.names[worst]}: {kind} jumps by {gap[worst]:.3g}"
    return ""


def tick_trip(
    before: Sequence[Tick], now_ns: SteadyNs, position: FloatArray, limits: JointLimits
) -> str:
    """Say why a position must not be commanded now, or return "".

    Velocity, acceleration and jerk are bounded by divided differences with the ticks before,
    which never exceed the largest value of the derivative (mean value theorem), however uneven
    the ticks are.

    Args:
        before: Up to `TICKS_COMPARED` commanded ticks, oldest first.
        now_ns: Time of this tick.
        position: About to be commanded, shape (J,) [rad].
        limits: What the arm may be asked to do.
    """
    outside = limits.outside(position)
    if outside:
        return outside
    times = [(t - int(now_ns)) / NS_PER_S for t, _ in before] + [0.0]
    table = [p for _, p in before] + [position]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    if gaps and min(gaps) <= 0.0:
        return "the ticks do not come one after the other"
    bounds = (limits.velocity, limits.acceleration, limits.jerk)
    newest: list[FloatArray] = []
    for order in range(1, len(times)):
        table = [
            (b - a) / (times[i + order] - times[i])
            for i, (a, b) in enumerate(itertools.pairwise(table))
        ]
        newest.append(table[-1] * _FACTORIALS[order - 1])
        value = np.abs(newest[-1])
        rounding = ROUNDING * (2.0 / min(gaps[-order:])) ** order
        bound = bounds[order - 1] + TOLERANCE + rounding
        if not np.all(value <= bound):
            worst = int(np.argmax(value / bound))
            return f"{limits.names[worst]}: {_KINDS[order]} {value[worst]:.4g} beyond its limit"
    if limits.by_position is None or not newest:
        return ""
    return _too_fast_here(before[-1][1], newest, limits, limits.by_position)


def _too_fast_here(
    position: FloatArray,
    newest: Sequence[FloatArray],
    limits: JointLimits,
    allowed: PositionBasedVelocity,
) -> str:
    """Say which joint is faster than is allowed where it comes from, unless it brakes; else "".

    A motion with v <= v+(q), which falls with q, has moved no farther than v+(q) times the time
    from q (comparison of q' = v+(q) with q' = v+ of its begin). The tick in which a brake begins
    may have gained what the acceleration does until it is over.

    Args:
        position: Of the tick before, shape (J,) [rad].
        newest: Differences of first and higher order, each (J,).
        limits: What the arm may be asked to do.
        allowed: Of the limits.
    """
    velocity = newest[0]
    up = velocity > 0.0
    most = np.where(up, allowed.upwards(position), allowed.downwards(position))
    most = most * (1.0 + _SLACK) + limits.acceleration**2 / (2.0 * limits.jerk)
    harder = (limits.acceleration, limits.jerk)
    for value, bound in zip(newest[1:], harder, strict=False):
        most[np.where(up, -value, value) >= BRAKING_SHARE * bound] = np.inf
    fast = np.abs(velocity) > most
    if not fast.any():
        return ""
    worst = int(np.argmax(fast))
    return (
        f"{limits.names[worst]}: velocity {velocity[worst]:.4g} beyond the {most[worst]:.4g} "
        "allowed at its position"
    )

# SPDX-License-Identifier: Apache-2.0
"""How far an arm goes on with nobody left to command it."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, nanoseconds

HORIZON_S = 0.1
"""The motion that a controller is given ahead, at most."""

_REST_RAD_S = 0.05
_SAMPLES = 400


def residual_ratios(
    window: Timeline[StampNs], sent_ns: int, since_ns: int, limits: JointLimits
) -> tuple[float, float]:
    """How far the rest of a window goes, in parts of what it may, with and without jerk ramps.

    It may go 0.1 s v + v^2/2a: the horizon, and a stop at the acceleration limit. Coming to that
    acceleration and from it takes a/j, in which it goes v a/2j; and an arm that speeds up by b
    where the brake begins goes v b/j until it does not. v is the largest speed in the rest. What
    counts is the joint that needs longest to stop: the others stop together with it, on the path,
    and so more gently than they could.

    Args:
        window: What the controller was sent last.
        sent_ns: When; the brake begins `HORIZON_S` later.
        since_ns: When nobody was left.
        limits: Of the arm.
    """
    left_s = (window.end_ns - since_ns) / 1e9
    if left_s <= 0.0:
        return 0.0, 0.0
    offset_s = max(0.0, (since_ns - int(window.start_ns)) / 1e9)
    points = window.sample_each(np.linspace(offset_s, window.duration_s, _SAMPLES))
    speed = np.abs(points.velocity).max(axis=0)
    leading = int(np.argmax(speed / limits.acceleration))
    v, a, j = (x[leading] for x in (speed, limits.acceleration, limits.jerk))
    if v < _REST_RAD_S:
        return 0.0, 0.0
    far = np.abs(points.position[:, leading] - points.position[0, leading]).max()
    plain = HORIZON_S * v + v**2 / (2.0 * a)
    braked = window.sample(StampNs(min(sent_ns + nanoseconds(HORIZON_S), window.end_ns)))
    speeding = max(0.0, float((braked.acceleration * np.sign(braked.velocity))[leading]))
    ramps = v * (a / 2.0 + speeding) / j
    return float(far / (plain + ramps)), float(far / plain)

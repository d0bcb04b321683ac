# SPDX-License-Identifier: Apache-2.0
"""Fade the gap between a commanded state and a motion out of the motion."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.timeline import ClockNs, JointPoint, Timeline, quintic_coefficients
from levine_policy_node.core.units import NS_PER_S, FloatArray


def gap_at_start(state: JointPoint, motion: Timeline[ClockNs]) -> JointPoint:
    """What `state` is ahead of the first knot of `motion`."""
    return JointPoint(
        state.position - motion.positions[0],
        state.velocity - motion.velocities[0],
        state.acceleration - motion.accelerations[0],
    )


def fade_coefficients(gap: JointPoint, fade_s: float) -> FloatArray:
    """The quintic that takes position, velocity and acceleration of a gap to zero, (6, J)."""
    nothing = JointPoint.at_rest(np.zeros_like(gap.position))
    return quintic_coefficients(gap, nothing, fade_s)


def faded(state: JointPoint, motion: Timeline[ClockNs], fade_ns: int) -> Timeline[ClockNs]:
    """Start in `state` and come onto `motion` after the fade.

    A quintic plus a quintic is a quintic, so adding the fade at the knots adds it everywhere.

    Args:
        state: At the start of `motion`.
        motion: What to come onto; not shorter than the fade.
        fade_ns: Length of the fade [ns].

    Returns:
        A timeline from the start to the end of `motion`.
    """
    over_ns = type(motion.start_ns)(int(motion.start_ns) + fade_ns)
    head = motion.window(motion.start_ns, over_ns)
    c = fade_coefficients(gap_at_start(state, motion), fade_ns / NS_PER_S)
    # Powers of the knot times, shape (6, K, 1), and their derivatives; the fade is over at the
    # last knot.
    t, n = head.times_s[:-1, None], np.arange(6)[:, None, None]
    powers = t**n
    slope, bend = n[1:] * powers[:-1], n[2:] * n[1:-1] * powers[:-2]
    p, v, a = head.positions.copy(), head.velocities.copy(), head.accelerations.copy()
    p[:-1] += (c[:, None] * powers).sum(axis=0)
    v[:-1] += (c[1:, None] * slope).sum(axis=0)
    a[:-1] += (c[2:, None] * bend).sum(axis=0)
    p[0], v[0], a[0] = state.position, state.velocity, state.acceleration
    added = Timeline(head.joint_names, head.start_ns, head.times_s, p, v, a, head.source)
    if over_ns >= motion.end_ns:
        return added
    return added.then(motion.window(over_ns, type(over_ns)(motion.end_ns)))

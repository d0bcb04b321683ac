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


def fade_coefficients(gap: JointPoint, fade_s: float | FloatArray) -> FloatArray:
    """The quintic that takes position, velocity and acceleration of a gap to zero, (6, J)."""
    nothing = JointPoint.at_rest(np.zeros_like(gap.position))
    return quintic_coefficients(gap, nothing, fade_s)


def faded(
    state: JointPoint, motion: Timeline[ClockNs], fade_ns: np.ndarray | int
) -> Timeline[ClockNs]:
    """Start in `state` and come onto `motion` after the fade.

    A quintic plus a quintic is a quintic, so adding the fade at the knots adds it everywhere.

    Args:
        state: At the start of `motion`.
        motion: What to come onto; longer than the fade.
        fade_ns: Length of the fade [ns], the same for all joints or one each (J,).

    Returns:
        A timeline from the start to the end of `motion`.
    """
    lengths_ns = np.broadcast_to(np.asarray(fade_ns, dtype=np.int64), state.position.shape)
    head, rest = _split_at(motion, np.unique(lengths_ns))
    c = fade_coefficients(gap_at_start(state, motion), lengths_ns / NS_PER_S)
    # Powers of the knot times, shape (6, K, 1), and their derivatives; zero once a fade is over.
    t = head.times_s[:, None]
    fading = t < lengths_ns / NS_PER_S - 1e-10
    powers = np.where(fading, t ** np.arange(6)[:, None, None], 0.0)
    n = np.arange(6)[:, None, None]
    slope, bend = n[1:] * powers[:-1], n[2:] * n[1:-1] * powers[:-2]
    p = head.positions + (c[:, None] * powers).sum(axis=0)
    v = head.velocities + (c[1:, None] * slope).sum(axis=0)
    a = head.accelerations + (c[2:, None] * bend).sum(axis=0)
    p[0], v[0], a[0] = state.position, state.velocity, state.acceleration
    added = Timeline(head.joint_names, head.start_ns, head.times_s, p, v, a, head.source)
    return added if rest is None else added.then(rest)


def _split_at(
    motion: Timeline[ClockNs], cuts_ns: np.ndarray
) -> tuple[Timeline[ClockNs], Timeline[ClockNs] | None]:
    """The motion up to the last cut, with a knot at every cut, and what follows."""
    clock = type(motion.start_ns)
    begin_ns, head = motion.start_ns, None
    for cut in cuts_ns:
        end_ns = clock(int(motion.start_ns) + int(cut))
        part = motion.window(begin_ns, end_ns)
        head = part if head is None else head.then(part)
        begin_ns = end_ns
    if head is None:
        raise ValueError("fade: no joints")
    if begin_ns >= motion.end_ns:
        return head, None
    return head, motion.window(begin_ns, clock(motion.end_ns))

# SPDX-License-Identifier: Apache-2.0
"""Actions that are velocities, as joint positions on the timeline.

Row i is the velocity from one row's time to the next, so it leads from the position one period
before its time to the one at its time. Where such a motion begins is not for the policy to say: it
continues from where the arm is told to be when the chunk takes effect. When the rows end, the
timeline ends, and the supervisor brakes; a velocity is never held.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.spline import cubic_knots
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs, nanoseconds


def integrated(
    values: FloatArray, measured: FloatArray, velocity: np.ndarray, dt_s: float
) -> FloatArray:
    """Sum up the columns that are velocities, from where the arm was.

    Args:
        values: Shape (T, J); [rad/s] where `velocity`, else [rad].
        measured: Joint positions of the observation, shape (J,) [rad].
        velocity: Mask (J,).
        dt_s: Time between rows [s].

    Returns:
        Joint positions, shape (T, J) [rad].
    """
    return np.where(velocity, measured + dt_s * np.cumsum(values, axis=0), values)


def anchored(
    chunk: ActionChunk,
    previous: Timeline[StampNs] | None,
    now_ns: StampNs,
    lead_s: float,
    actuation_delay_s: float,
) -> ActionChunk:
    """Shift the joints that are integrated so that they continue what is being played.

    Args:
        chunk: As the policy gave it; `chunk.integrated_from` says which joints these are.
        previous: The timeline being played, or None if the arm stands where it was observed.
        now_ns: Present time on the ROS clock.
        lead_s: How long after `now` the chunk takes effect [s].
        actuation_delay_s: How much earlier than its time a row is sent [s].

    Returns:
        The chunk, where these joints pass through the commanded position at the seam.
    """
    base = chunk.integrated_from
    if base is None:
        return chunk
    seam_ns = StampNs(now_ns + nanoseconds(lead_s))
    commanded = base
    if previous is not None and previous.covers(now_ns):
        commanded = previous.sample(seam_ns).position
    at_s = (int(seam_ns) - int(chunk.observed_ns)) / NS_PER_S + actuation_delay_s
    shift = commanded - _curve(chunk, base, at_s)
    return replace(chunk, positions=chunk.positions + np.where(np.isnan(base), 0.0, shift))


def _curve(chunk: ActionChunk, base: FloatArray, at_s: float) -> FloatArray:
    """Where the curve through the rows is `at_s` [s] after the observation, shape (J,)."""
    rows = np.vstack([np.where(np.isnan(base), chunk.positions[0], base), chunk.positions])
    times_s = chunk.dt_s * np.arange(len(rows), dtype=np.float64)
    velocities, accelerations = cubic_knots(chunk.dt_s, rows)
    line = Timeline(chunk.joint_names, chunk.observed_ns, times_s, rows, velocities, accelerations)
    return line.sample_s(at_s).position

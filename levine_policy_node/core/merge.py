# SPDX-License-Identifier: Apache-2.0
"""From a policy's chunk to the timeline that is played: place, merge, fit to the limits.

A chunk's rows have absolute times. Rows whose time has passed are not played late; they only
support the curve through the rows that are still due. What is still to play of the previous
timeline fades into the new one over a window, so the command stays C2 across the seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.spline import natural_cubic_slopes
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds, seconds

_BLEND_KNOTS = 8
# A difference too large for the jerk limit within one window may fit a longer one: the jerk of a
# quintic fade falls with the cube of its length.
_WINDOW_FACTORS = (1.0, 1.5, 2.0, 3.0)
_MAX_STRETCH = 4.0


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """How a new chunk joins what is being played.

    Attributes:
        blend_s: Length of the fade from the previous timeline [s].
        lead_s: How long after `now` the new timeline can take effect at the earliest [s].
        actuation_delay_s: How much earlier than its time a row must be sent [s].
    """

    blend_s: float = 0.2
    lead_s: float = 0.03
    actuation_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Merged:
    """A timeline ready to publish.

    Attributes:
        timeline: Starts at `now` when it continues a previous one, else at `now + lead`.
        dropped_rows: Rows whose time had passed.
        stretch: Factor by which the chunk was slowed to fit the limits; 1 when it fits.
    """

    timeline: Timeline[StampNs]
    dropped_rows: int
    stretch: float


def merge_chunk(
    previous: Timeline[StampNs] | None,
    chunk: ActionChunk,
    now_ns: StampNs,
    limits: JointLimits,
    options: MergeOptions,
) -> Merged | None:
    """Merge a chunk with what is still to play.

    Args:
        previous: The timeline being played, or None to start afresh from the chunk.
        chunk: Joint targets, in the joint order of `limits`.
        now_ns: Present time on the ROS clock [ns].
        limits: What the arm may be asked to do.
        options: Window and delays.

    Returns:
        The merged timeline, or None if no row of the chunk is still due.
    """
    seam_ns = StampNs(now_ns + nanoseconds(options.lead_s))
    due_s = _row_times(chunk, seam_ns, options.actuation_delay_s)
    dropped = int(np.count_nonzero(due_s <= 0.0))
    if dropped == len(due_s):
        return None
    if previous is not None and not (previous.covers(now_ns) and previous.covers(seam_ns)):
        previous = None
    stretch = 1.0
    while True:
        candidate = _fade(
            previous,
            _curve(chunk, seam_ns, due_s, stretch),
            now_ns,
            seam_ns,
            limits,
            options.blend_s,
        )
        excess = _excess(candidate, limits)
        if excess <= 1.0 or stretch >= _MAX_STRETCH:
            return Merged(candidate, dropped, stretch)
        stretch = min(_MAX_STRETCH, stretch * max(1.02, excess))


def _row_times(chunk: ActionChunk, seam_ns: StampNs, delay_s: float) -> FloatArray:
    """When each row must be sent, relative to the seam, shape (T,) [s]."""
    first_s = seconds(chunk.row_stamp(0) - seam_ns) - delay_s
    return first_s + chunk.dt_s * np.arange(len(chunk.positions), dtype=np.float64)


def _curve(
    chunk: ActionChunk, seam_ns: StampNs, due_s: FloatArray, stretch: float
) -> Timeline[StampNs]:
    """C2 curve through the rows, beginning at the seam or before it.

    Two past rows are kept as support. If the first row is still ahead, one row before it is
    extrapolated, so that the curve exists at the seam. Rows ahead are slowed by `stretch`.
    """
    keep = max(0, int(np.count_nonzero(due_s <= 0.0)) - 2)
    times, rows = due_s[keep:], chunk.positions[keep:]
    if times[0] > 0.0:
        before = times[0] - max(chunk.dt_s, times[0])
        slope = (rows[1] - rows[0]) / chunk.dt_s if len(rows) > 1 else np.zeros_like(rows[0])
        rows = np.vstack([rows[0] + slope * (before - times[0]), rows])
        times = np.concatenate([[before], times])
    times = np.where(times > 0.0, times * stretch, times)
    if len(times) == 1:
        times, rows = np.array([times[0], times[0] + chunk.dt_s]), np.vstack([rows, rows])
    velocities, accelerations = natural_cubic_slopes(times, rows)
    return Timeline(
        chunk.joint_names,
        StampNs(seam_ns + nanoseconds(float(times[0]))),
        times - times[0],
        rows,
        velocities,
        accelerations,
        chunk.source,
    )


def _fade(
    previous: Timeline[StampNs] | None,
    curve: Timeline[StampNs],
    now_ns: StampNs,
    seam_ns: StampNs,
    limits: JointLimits,
    blend_s: float,
) -> Timeline[StampNs]:
    """Play `previous` to the seam and fade into `curve`, with the shortest window that fits."""
    if previous is None:
        return curve.window(seam_ns, StampNs(curve.end_ns))
    room_s = min(seconds(previous.end_ns - seam_ns), seconds(curve.end_ns - seam_ns)) - 1e-3
    head = previous.window(now_ns, seam_ns)
    best: Timeline[StampNs] | None = None
    for factor in _WINDOW_FACTORS:
        window_s = min(blend_s * factor, room_s)
        if window_s <= 0.0:
            return curve.window(seam_ns, StampNs(curve.end_ns))
        best = head.then(_blend(previous, curve, seam_ns, window_s))
        if window_s == room_s or _excess(best, limits) <= 1.0:
            break
    return best if best is not None else curve


def _blend(
    previous: Timeline[StampNs], curve: Timeline[StampNs], seam_ns: StampNs, window_s: float
) -> Timeline[StampNs]:
    """Knots of previous + w(t) (curve - previous) with the quintic w, then the curve alone."""
    end_ns = StampNs(seam_ns + nanoseconds(window_s))
    offsets_s = np.linspace(0.0, window_s, _BLEND_KNOTS + 1)[:-1]
    points = [
        _mix(
            previous.sample(StampNs(seam_ns + nanoseconds(float(offset)))),
            curve.sample(StampNs(seam_ns + nanoseconds(float(offset)))),
            float(offset) / window_s,
            window_s,
        )
        for offset in offsets_s
    ]
    rest = curve.window(end_ns, StampNs(curve.end_ns))
    return Timeline(
        curve.joint_names,
        seam_ns,
        np.concatenate([offsets_s, window_s + rest.times_s]),
        np.vstack([[p.position for p in points], rest.positions]),
        np.vstack([[p.velocity for p in points], rest.velocities]),
        np.vstack([[p.acceleration for p in points], rest.accelerations]),
        curve.source,
    )


def _mix(old: JointPoint, new: JointPoint, u: float, window_s: float) -> JointPoint:
    """Fade at phase u in [0, 1] with w(u) = 10u^3 - 15u^4 + 6u^5 (C2 at both ends)."""
    w = u**3 * (10.0 - 15.0 * u + 6.0 * u * u)
    dw = 30.0 * u * u * (1.0 - u) ** 2 / window_s
    ddw = 60.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / window_s**2
    position = new.position - old.position
    velocity = new.velocity - old.velocity
    acceleration = new.acceleration - old.acceleration
    return JointPoint(
        old.position + w * position,
        old.velocity + w * velocity + dw * position,
        old.acceleration + w * acceleration + 2.0 * dw * velocity + ddw * position,
    )


def _excess(timeline: Timeline[StampNs], limits: JointLimits) -> float:
    """Time scale by which the timeline is too fast; at most 1 when it is within the limits.

    Slowing a motion by s divides velocity by s, acceleration by s^2 and jerk by s^3.
    """
    peaks = timeline.peaks()
    return float(
        max(
            np.max(peaks.velocity / limits.velocity),
            np.sqrt(np.max(peaks.acceleration / limits.acceleration)),
            np.cbrt(np.max(peaks.jerk / limits.jerk)),
        )
    )

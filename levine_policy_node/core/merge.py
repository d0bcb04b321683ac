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
from levine_policy_node.core.spline import cubic_knots
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds, seconds

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
    lead_s: float = 0.06
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
    curve, stretch = _fitting_curve(chunk, seam_ns, due_s, limits)
    return Merged(_fade(previous, curve, now_ns, seam_ns, limits, options), dropped, stretch)


def _fitting_curve(
    chunk: ActionChunk, seam_ns: StampNs, due_s: FloatArray, limits: JointLimits
) -> tuple[Timeline[StampNs], float]:
    """The curve through the rows from the seam on, slowed until it fits the limits."""
    stretch = 1.0
    while True:
        curve = _curve(chunk, seam_ns, due_s, stretch)
        curve = curve.window(seam_ns, StampNs(curve.end_ns))
        excess = _excess(curve, limits)
        if excess <= 1.0 or stretch >= _MAX_STRETCH:
            return curve, stretch
        stretch = min(_MAX_STRETCH, stretch * max(1.01, excess))


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
        before_s = max(chunk.dt_s, float(times[0]))
        rows = np.vstack([_extrapolated(rows, before_s / chunk.dt_s), rows])
        times = np.concatenate([[times[0] - before_s], times])
    times = np.where(times > 0.0, times * stretch, times)
    if len(times) == 1:
        times, rows = np.array([times[0], times[0] + chunk.dt_s]), np.vstack([rows, rows])
    velocities, accelerations = cubic_knots(times, rows)
    return Timeline(
        chunk.joint_names,
        StampNs(seam_ns + nanoseconds(float(times[0]))),
        times - times[0],
        rows,
        velocities,
        accelerations,
        chunk.source,
    )


def _extrapolated(rows: FloatArray, periods: float) -> FloatArray:
    """The row `periods` before the first, on the parabola of the first three, shape (J,)."""
    first = rows[0]
    step = rows[1] - first if len(rows) > 1 else np.zeros_like(first)
    bend = rows[2] - 2.0 * rows[1] + first if len(rows) > 2 else np.zeros_like(first)
    return first - periods * step + 0.5 * periods * (periods + 1.0) * bend


def _fade(
    previous: Timeline[StampNs] | None,
    curve: Timeline[StampNs],
    now_ns: StampNs,
    seam_ns: StampNs,
    limits: JointLimits,
    options: MergeOptions,
) -> Timeline[StampNs]:
    """Play `previous` to the seam, then fade the gap to `curve` out.

    The shortest window is taken whose motion is within the limits; if none is, the one that
    breaks them least, and the supervisor finds its own way onto the curve.
    """
    if previous is None:
        return curve
    head = previous.window(now_ns, seam_ns)
    state = previous.sample(seam_ns)
    candidates: list[tuple[float, Timeline[StampNs]]] = []
    for factor in _WINDOW_FACTORS:
        window_s = min(options.blend_s * factor, 0.9 * curve.duration_s)
        faded = _faded(state, curve, window_s)
        excess = _excess(faded, limits)
        candidates.append((excess, faded))
        if excess <= 1.0:
            break
    return head.then(min(candidates, key=lambda candidate: candidate[0])[1])


def _faded(state: JointPoint, curve: Timeline[StampNs], window_s: float) -> Timeline[StampNs]:
    """Add the gap between `state` and the curve's start, faded to nothing over the window.

    The gap's position, velocity and acceleration go to zero along one quintic. A quintic plus a
    quintic is a quintic, so adding it at the knots adds it everywhere.
    """
    end_ns = StampNs(curve.start_ns + nanoseconds(window_s))
    head = curve.window(curve.start_ns, end_ns)
    start = head.sample_s(0.0)
    gap = JointPoint(
        state.position - start.position,
        state.velocity - start.velocity,
        state.acceleration - start.acceleration,
    )
    nothing = JointPoint.at_rest(np.zeros_like(state.position))
    fade = Timeline(
        curve.joint_names,
        curve.start_ns,
        np.array([0.0, head.duration_s]),
        np.stack([gap.position, nothing.position]),
        np.stack([gap.velocity, nothing.velocity]),
        np.stack([gap.acceleration, nothing.acceleration]),
    )
    points = [fade.sample_s(float(offset)) for offset in head.times_s]
    faded = Timeline(
        curve.joint_names,
        curve.start_ns,
        head.times_s,
        head.positions + np.stack([p.position for p in points]),
        head.velocities + np.stack([p.velocity for p in points]),
        head.accelerations + np.stack([p.acceleration for p in points]),
        curve.source,
    )
    return faded.then(curve.window(end_ns, StampNs(curve.end_ns)))


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

# SPDX-License-Identifier: Apache-2.0
"""From a policy's chunk to the timeline that is played: place, smooth, merge, fit to the limits.

A chunk's rows have absolute times. Rows whose time has passed are not played late; they only
support the curve through the rows that are still due. What is still to play of the previous
timeline fades into the new one over a window, so the command stays C2 across the seam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.fade import faded
from levine_policy_node.core.limits import JointLimits, joints_too_fast
from levine_policy_node.core.smoothing import smoothed
from levine_policy_node.core.spline import cubic_knots
from levine_policy_node.core.stepped import step_time, stepped
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.timeline_cuts import MIN_GAP_NS, clear_cut, without_short_segments
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds, seconds

MergeRule = Literal["replace", "blend", "ensemble"]

# A difference too large for the limits within one window may fit a longer one: the jerk of a
# quintic fade falls with the cube of its length.
_WINDOW_FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0)
_SHORTEST_WINDOWS_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_MAX_STRETCH = 4.0
_SHORTEST_SEGMENT_S = 1e-3


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """How a new chunk joins what is being played.

    Attributes:
        rule: `replace` takes the new chunk as soon as the limits allow; `blend` fades to it over
            `blend_s`; `ensemble` first averages the recent chunks (ACT), then blends.
        blend_s: Length of the fade from the previous timeline [s].
        ensemble_k: Weights of an ensemble are exp(-k i), i = 0 the oldest.
        smoothing_s: Standard deviation of the zero-phase smoothing of a chunk [s]; 0 for none.
        discrete: Joints whose targets switch, such as grippers: never smoothed or averaged, and
            they join as soon as their limits allow.
        lead_s: How long after `now` the new timeline can take effect at the earliest [s].
        actuation_delay_s: How much earlier than its time a row must be sent [s].
    """

    rule: MergeRule = "blend"
    blend_s: float = 0.2
    ensemble_k: float = 0.01
    smoothing_s: float = 0.0
    discrete: tuple[str, ...] = ()
    lead_s: float = 0.06
    actuation_delay_s: float = 0.0

    def is_discrete(self, joint_names: tuple[str, ...]) -> np.ndarray:
        """Mask (J,) of the joints whose targets switch."""
        return np.array([name in self.discrete for name in joint_names], dtype=bool)


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
    chunk = _smoothed(chunk, options)
    curve, stretch = _fitting_curve(chunk, seam_ns, due_s, limits, options)
    if previous is not None:
        head = without_short_segments(previous.window(now_ns, seam_ns), _SHORTEST_SEGMENT_S)
        curve = head.then(_joined(previous, curve, limits, options))
    return Merged(curve, dropped, stretch)


def _smoothed(chunk: ActionChunk, options: MergeOptions) -> ActionChunk:
    """All rows count, also those whose time has passed: they support the ones that are due."""
    sigma_s = np.where(options.is_discrete(chunk.joint_names), 0.0, options.smoothing_s)
    if not np.any(sigma_s > 0.0):
        return chunk
    return replace(chunk, positions=smoothed(chunk.positions, chunk.dt_s, sigma_s))


def _fitting_curve(
    chunk: ActionChunk,
    seam_ns: StampNs,
    due_s: FloatArray,
    limits: JointLimits,
    options: MergeOptions,
) -> tuple[Timeline[StampNs], float]:
    """The curve through the rows from the seam on, slowed until it fits the limits.

    A switching joint does not slow the others: where it is too fast it switches in steps.
    """
    discrete = options.is_discrete(chunk.joint_names)
    stretch = 1.0
    while True:
        times_s, rows = _supported(chunk, due_s, stretch)
        curve = _through(chunk, seam_ns, times_s, rows)
        excess = _excess(curve.window(seam_ns, StampNs(curve.end_ns)), limits)
        slowest = float(np.max(excess, where=~discrete, initial=0.0))
        if slowest <= 1.0 or stretch >= _MAX_STRETCH:
            break
        stretch = min(_MAX_STRETCH, stretch * max(1.01, slowest))
    too_fast = np.flatnonzero(discrete & (excess > 1.0))
    if len(too_fast) > 0:
        curve = _with_steps(curve, times_s - times_s[0], rows, too_fast, limits)
    # A row may be due a microsecond after the seam; rounding would be its jerk.
    due = curve.window(seam_ns, StampNs(curve.end_ns))
    return without_short_segments(due, _SHORTEST_SEGMENT_S), stretch


def _row_times(chunk: ActionChunk, seam_ns: StampNs, delay_s: float) -> FloatArray:
    """When each row must be sent, relative to the seam, shape (T,) [s]."""
    first_s = seconds(chunk.row_stamp(0) - seam_ns) - delay_s
    return first_s + chunk.dt_s * np.arange(len(chunk.positions), dtype=np.float64)


def _supported(
    chunk: ActionChunk, due_s: FloatArray, stretch: float
) -> tuple[FloatArray, FloatArray]:
    """Times relative to the seam [s] and rows of a curve that begins at the seam or before it.

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
    return times, rows


def _through(
    chunk: ActionChunk, seam_ns: StampNs, times_s: FloatArray, rows: FloatArray
) -> Timeline[StampNs]:
    """The C2 curve through the rows."""
    velocities, accelerations = cubic_knots(times_s, rows)
    return Timeline(
        chunk.joint_names,
        StampNs(seam_ns + nanoseconds(float(times_s[0]))),
        times_s - times_s[0],
        rows,
        velocities,
        accelerations,
        chunk.source,
    )


def _with_steps(
    curve: Timeline[StampNs],
    times_s: FloatArray,
    rows: FloatArray,
    joints: np.ndarray,
    limits: JointLimits,
) -> Timeline[StampNs]:
    """Let `joints` step from row to row instead; the curve is as long as the longest step asks."""
    lengths_s = {int(j): step_time(times_s, rows, int(j), limits) for j in joints}
    knots_s = set(times_s.tolist())
    for joint, length_s in lengths_s.items():
        changes = times_s[1:][np.diff(rows[:, joint]) != 0.0]
        knots_s.update((changes + length_s).tolist())
    at_s = np.array(sorted(knots_s))
    at_s = at_s[np.concatenate([[True], np.diff(at_s) * 1e9 >= MIN_GAP_NS])]
    points = [curve.sample_s(float(t)) for t in at_s]
    p, v, a = (
        np.array([getattr(point, name) for point in points])
        for name in ("position", "velocity", "acceleration")
    )
    for joint, length_s in lengths_s.items():
        p[:, joint], v[:, joint], a[:, joint] = stepped(times_s, rows[:, joint], length_s, at_s)
    return Timeline(curve.joint_names, curve.start_ns, at_s, p, v, a, curve.source)


def _extrapolated(rows: FloatArray, periods: float) -> FloatArray:
    """The row `periods` before the first, on the parabola of the first three, shape (J,)."""
    first = rows[0]
    step = rows[1] - first if len(rows) > 1 else np.zeros_like(first)
    bend = rows[2] - 2.0 * rows[1] + first if len(rows) > 2 else np.zeros_like(first)
    return first - periods * step + 0.5 * periods * (periods + 1.0) * bend


def _joined(
    previous: Timeline[StampNs],
    curve: Timeline[StampNs],
    limits: JointLimits,
    options: MergeOptions,
) -> Timeline[StampNs]:
    """Fade from `previous` into the curve, which begins at the seam.

    The shortest windows are taken whose motion is within the limits; if none is, the longest, and
    the supervisor finds its own way onto the curve. Switching joints have windows of their own.
    """
    discrete = options.is_discrete(curve.joint_names)
    state = previous.sample(curve.start_ns)
    windows_s = tuple(options.blend_s * factor for factor in _WINDOW_FACTORS)
    if options.rule == "replace":
        windows_s = _SHORTEST_WINDOWS_S
    choice = np.zeros(len(discrete), dtype=int)
    last = len(windows_s) - 1
    while True:
        lengths_s = np.where(
            discrete, np.take(_SHORTEST_WINDOWS_S, choice), np.take(windows_s, choice)
        )
        motion = faded(state, curve, _fade_ns(curve, lengths_s))
        excess = joints_too_fast(motion, limits)
        # The other joints stay together, so that the path between two chunks is kept.
        longer = np.where(discrete, excess, np.any(excess & ~discrete)) & (choice < last)
        if not np.any(longer):
            return motion
        choice = choice + longer


def _fade_ns(curve: Timeline[StampNs], lengths_s: FloatArray) -> np.ndarray:
    """Fade lengths (J,) [ns] that end inside the curve and not next to one of its knots."""
    longest_s = 0.9 * curve.duration_s
    found: list[int] = []
    for length_s in lengths_s:
        end_ns = StampNs(curve.start_ns + nanoseconds(min(float(length_s), longest_s)))
        found.append(clear_cut(curve, end_ns, MIN_GAP_NS) - curve.start_ns)
    return np.array(found, dtype=np.int64)


def _excess(timeline: Timeline[StampNs], limits: JointLimits) -> FloatArray:
    """Time scale (J,) by which each joint is too fast; at most 1, or 0, within the limits.

    Slowing a motion by s divides velocity by s, acceleration by s^2 and jerk by s^3. Only what
    breaks a limit is measured exactly, which takes ten times as long as finding out whether.
    """
    if not np.any(joints_too_fast(timeline, limits)):
        return np.zeros(len(limits.names))
    peaks = timeline.peaks()
    return np.maximum.reduce(
        [
            peaks.velocity / limits.velocity,
            np.sqrt(peaks.acceleration / limits.acceleration),
            np.cbrt(peaks.jerk / limits.jerk),
        ]
    )

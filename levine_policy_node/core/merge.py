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
from levine_policy_node.core.crossfade import CLOSEST_S, Overlay, overlay
from levine_policy_node.core.curve import MAX_STRETCH, SHORTEST_S, curve_through, slowed
from levine_policy_node.core.limits import JointLimits, joints_outside
from levine_policy_node.core.smoothing import smoothed
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.timeline_cuts import (
    cut_after,
    cut_before,
    without_short_segments,
)
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds, seconds

MergeRule = Literal["replace", "blend", "ensemble", "rtc"]

# A difference too large for the limits within one window may fit a longer one, and where none
# fits, because the chunk itself leaves no room, a slower chunk.
_WINDOW_FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_SHORTEST_WINDOWS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
# How many windows both motions are worked out for at once.
_AHEAD = 2
# Share of a step by which the mixture of two steps may pass its end.
_OVERSHOOT = 0.005
_SLOWER = (1.1, 1.25, 1.5, 2.0)
# A cut leaves no segment that would be too short, whatever is rounded.
_GAP_NS = nanoseconds(1.01 * SHORTEST_S)


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """How a new chunk joins what is being played.

    Attributes:
        rule: `replace` takes the new chunk as soon as the limits allow; `blend` fades to it over
            `blend_s`; `ensemble` first averages the recent chunks (ACT), then blends;
            `rtc` blends chunks that were inferred to continue the timeline.
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
        timeline: Starts at `now`, or on a knot shortly before, when it continues a previous one,
            else at `now + lead`.
        dropped_rows: Rows whose time had passed.
        stretch: Factor by which the chunk was slowed to fit the limits; 1 when it fits.
        fits: Whether everything from the seam on is within the limits. If not, the supervisor
            finds its own way.
        gap: How far the chunk was from what was being played, at the seam and before it was
            merged (J,) [rad]; None where nothing was played.
    """

    timeline: Timeline[StampNs]
    dropped_rows: int
    stretch: float
    fits: bool
    gap: FloatArray | None = None


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
        chunk: Joint targets, in the joint order of `limits` and inside the joint range.
        now_ns: Present time on the ROS clock [ns].
        limits: What the arm may be asked to do.
        options: Window and delays.

    Returns:
        The merged timeline, or None if no row of the chunk is still due.
    """
    first_ns = StampNs(chunk.row_stamp(0) - nanoseconds(options.actuation_delay_s))
    # A curve begins at most one period before its first row.
    earliest_ns = StampNs(first_ns - nanoseconds(chunk.dt_s))
    seam_ns = StampNs(max(now_ns + nanoseconds(options.lead_s), earliest_ns))
    if seam_ns - now_ns < nanoseconds(SHORTEST_S):
        seam_ns = now_ns
    if previous is not None and not (previous.covers(now_ns) and previous.covers(seam_ns)):
        previous = None
    if previous is not None and now_ns < seam_ns:
        seam_ns = cut_after(previous, seam_ns, _GAP_NS)
    first_s = seconds(first_ns - seam_ns)
    due_s = first_s + chunk.dt_s * np.arange(len(chunk.positions), dtype=np.float64)
    if due_s[-1] <= SHORTEST_S:
        return None
    discrete = options.is_discrete(chunk.joint_names)
    chunk = _smoothed(chunk, discrete, options.smoothing_s)
    curve, stretch, outside = curve_through(chunk, seam_ns, first_s, limits, discrete)
    dropped = int(np.count_nonzero(due_s <= 0.0))
    if previous is None:
        return Merged(curve, dropped, stretch, not outside.any())
    gap = np.abs(curve.positions[0] - previous.sample(seam_ns).position)
    joined, beyond = _joined(previous, curve, limits, discrete, options)
    for factor in _SLOWER:
        if not np.any(beyond & ~discrete) or stretch * factor > MAX_STRETCH:
            break
        slow, still = _joined(previous, slowed(curve, factor), limits, discrete, options)
        if not np.any(still & ~discrete):
            joined, beyond, stretch = slow, still, stretch * factor
    if now_ns < seam_ns:
        joined = _until(previous, now_ns, seam_ns).then(joined)
    return Merged(joined, dropped, stretch, not (outside | beyond).any(), gap)


def _until(previous: Timeline[StampNs], now_ns: StampNs, seam_ns: StampNs) -> Timeline[StampNs]:
    """What is played up to the seam, as it was: it begins on a knot or well away from any.

    A knot that the cut would come close to would have to be dropped, and the motion with it. Those
    of an overlay may be closer to each other than a curve's and stay.
    """
    begin_ns = cut_before(previous, now_ns, _GAP_NS)
    return without_short_segments(previous.window(begin_ns, seam_ns), CLOSEST_S)


def _smoothed(chunk: ActionChunk, discrete: np.ndarray, sigma_s: float) -> ActionChunk:
    """All rows count, also those whose time has passed: they support the ones that are due."""
    if sigma_s <= 0.0:
        return chunk
    rows = smoothed(chunk.positions, chunk.dt_s, np.where(discrete, 0.0, sigma_s))
    return replace(chunk, positions=rows)


def _joined(
    previous: Timeline[StampNs],
    curve: Timeline[StampNs],
    limits: JointLimits,
    discrete: np.ndarray,
    options: MergeOptions,
) -> tuple[Timeline[StampNs], np.ndarray]:
    """Go over from `previous` to the curve, which begins at the seam.

    The shortest windows are taken whose motion is within the limits; if none is, the longest. A
    window may be longer than the curve, which then ends in between. Switching joints have windows
    of their own, and where none of them will do they go on as they were.

    Returns:
        The motion, and a mask (J,) of the joints that are not within the limits.
    """
    windows_s = _windows(discrete, options)
    last = len(windows_s) - 1
    choice = _shortest(previous, curve, windows_s, limits, discrete)
    joints, both, bounds = np.arange(len(discrete)), None, limits
    while True:
        lengths_s = windows_s[choice, joints]
        length_s = float(lengths_s.max())
        if both is None or both.window_s < length_s:
            ahead = np.maximum(choice, np.minimum(choice + _AHEAD, last - 1))
            window_s = float(windows_s[ahead, joints].max())
            both = overlay(previous, curve, window_s, limits)
            bounds = _between(limits, both, discrete)
        at_s, mixed = both.mixed(lengths_s)
        knots = (mixed.position, mixed.velocity, mixed.acceleration)
        motion = Timeline(curve.joint_names, curve.start_ns, at_s, *knots, curve.source)
        outside = joints_outside(motion, bounds)
        # The other joints stay together, so that the path between two chunks is kept.
        again = (outside & discrete) | (~discrete & bool((outside & ~discrete).any()))
        longer = again & (choice < last)
        if not longer.any():
            break
        choice = choice + longer
    return _with_rest(motion, curve), outside


def _windows(discrete: np.ndarray, options: MergeOptions) -> FloatArray:
    """Windows (W, J) to try for each joint, the shortest first [s]."""
    together_s = np.array(_SHORTEST_WINDOWS_S)
    if options.rule != "replace":
        together_s = options.blend_s * np.array(_WINDOW_FACTORS)
    own_s = np.array((*_SHORTEST_WINDOWS_S[:-1], np.inf))
    return np.where(discrete, own_s[:, None], together_s[:, None])


def _with_rest(motion: Timeline[StampNs], curve: Timeline[StampNs]) -> Timeline[StampNs]:
    """The motion, which starts with the curve, and what follows of the curve."""
    rest = slice(int(curve.times_s.searchsorted(motion.duration_s, side="right")), None)
    return Timeline(
        curve.joint_names,
        curve.start_ns,
        np.concatenate([motion.times_s, curve.times_s[rest]]),
        np.concatenate([motion.positions, curve.positions[rest]]),
        np.concatenate([motion.velocities, curve.velocities[rest]]),
        np.concatenate([motion.accelerations, curve.accelerations[rest]]),
        curve.source,
    )


def _shortest(
    previous: Timeline[StampNs],
    curve: Timeline[StampNs],
    windows_s: FloatArray,
    limits: JointLimits,
    discrete: np.ndarray,
) -> np.ndarray:
    """For each joint the shortest window (J,) that is worth trying.

    The jerk of the mixture begins with 60 gap / window^3 more than that of `previous`, which may
    take that much off, but no more than all of it.
    """
    gap = np.abs(curve.positions[0] - previous.sample(curve.start_ns).position)
    hopeless = windows_s[:-1] < np.cbrt(30.0 * gap / limits.jerk)
    together = np.any(hopeless & ~discrete, axis=1)[:, None]
    each = (hopeless & discrete) | (together & ~discrete)
    return np.asarray(each.sum(axis=0))


def _between(limits: JointLimits, both: Overlay, discrete: np.ndarray) -> JointLimits:
    """The limits, and for switching joints the range of both motions: they never overshoot."""
    if not discrete.any():
        return limits
    low, high = both.range(discrete)
    room = _OVERSHOOT * (high - low)
    lower, upper = limits.lower.copy(), limits.upper.copy()
    lower[discrete] = np.maximum(low - room, lower[discrete])
    upper[discrete] = np.minimum(high + room, upper[discrete])
    return replace(limits, lower=lower, upper=upper)

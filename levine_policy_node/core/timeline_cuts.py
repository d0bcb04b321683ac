# SPDX-License-Identifier: Apache-2.0
"""Where a timeline may be cut, and references made fit to be followed."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.timeline import ClockNs, Timeline
from levine_policy_node.core.units import NS_PER_S

MIN_GAP_NS = 400_000
"""Shortest segment that is sent; over less, rounding dominates the jerk of a quintic [ns]."""


def knots_ns(timeline: Timeline[ClockNs]) -> np.ndarray:
    """Absolute knot times [ns], shape (K,), on the timeline's clock."""
    return np.rint(timeline.times_s * NS_PER_S).astype(np.int64) + int(timeline.start_ns)


def clear_cut(timeline: Timeline[ClockNs], time_ns: ClockNs, step_ns: int) -> ClockNs:
    """Move `time_ns` in steps until it lies on a knot or well away from any.

    A negative step searches backwards. The result may lie outside the timeline.
    """
    times, start_ns = timeline.times_s, int(timeline.start_ns)
    while True:
        after = int(times.searchsorted((int(time_ns) - start_ns) / NS_PER_S))
        # Rounded as `knots_ns` does, so that "on a knot" means the same nanosecond.
        knots = (round(float(t) * NS_PER_S) for t in times[max(0, after - 1) : after + 1])
        nearest = min(abs(knot + start_ns - int(time_ns)) for knot in knots)
        if nearest == 0 or nearest >= MIN_GAP_NS:
            return time_ns
        time_ns = type(time_ns)(int(time_ns) + step_ns)


def cut_after(timeline: Timeline[ClockNs], time_ns: ClockNs, gap_ns: int) -> ClockNs:
    """The first time from `time_ns` on that lies on a knot or `gap_ns` away from any.

    It is at most twice the gap later. `time_ns` must lie between the first and the last knot.
    """
    before_ns, after_ns = _neighbours_ns(timeline, time_ns)
    if time_ns == before_ns:
        return time_ns
    clear_ns = max(int(time_ns), before_ns + gap_ns)
    return type(time_ns)(clear_ns if clear_ns + gap_ns <= after_ns else after_ns)


def cut_before(timeline: Timeline[ClockNs], time_ns: ClockNs, gap_ns: int) -> ClockNs:
    """The last time up to `time_ns` that lies on a knot or `gap_ns` away from any; as above."""
    before_ns, after_ns = _neighbours_ns(timeline, time_ns)
    if time_ns == before_ns:
        return time_ns
    clear_ns = min(int(time_ns), after_ns - gap_ns)
    return type(time_ns)(clear_ns if clear_ns - gap_ns >= before_ns else before_ns)


def _neighbours_ns(timeline: Timeline[ClockNs], time_ns: ClockNs) -> tuple[int, int]:
    """The last knot up to a time and the first after it; the last one twice [ns]."""
    knots = knots_ns(timeline)
    after = int(knots.searchsorted(int(time_ns), side="right"))
    return int(knots[max(after - 1, 0)]), int(knots[min(after, len(knots) - 1)])


def without_short_segments(timeline: Timeline[ClockNs], shortest_s: float) -> Timeline[ClockNs]:
    """Drop inner knots that follow another within `shortest_s` [s].

    What remains is still C2 and passes through the remaining knots; whether it is still within
    the limits is for the caller to check.
    """
    kept = [0]
    last = len(timeline.times_s) - 1
    for k in range(1, last):
        far = timeline.times_s[k] - timeline.times_s[kept[-1]] >= shortest_s
        if far and timeline.times_s[last] - timeline.times_s[k] >= shortest_s:
            kept.append(k)
    if last > 0:
        kept.append(last)
    if len(kept) == last + 1:
        return timeline
    return Timeline(
        timeline.joint_names,
        timeline.start_ns,
        timeline.times_s[kept],
        timeline.positions[kept],
        timeline.velocities[kept],
        timeline.accelerations[kept],
        timeline.source,
    )

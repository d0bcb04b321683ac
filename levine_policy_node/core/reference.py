# SPDX-License-Identifier: Apache-2.0
"""From a chunk that arrived to a motion that may be followed, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.crossfade import CLOSEST_S
from levine_policy_node.core.limits import JointLimits, excess_segments
from levine_policy_node.core.plan import Plan, with_brake
from levine_policy_node.core.shaper import rejoin
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.timeline_cuts import knots_ns, without_short_segments
from levine_policy_node.core.units import NS_PER_S, StampNs, SteadyNs, nanoseconds, seconds

_LATEST_START_S = 2.0
_SHORTEST_USE_NS = nanoseconds(0.1)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a chunk was not used.

    Attributes:
        reason: For people.
        on_its_way: Whether it is because of what is on its way, and not of the chunk as such.
        blocked: Whether that is something that the arm would come too near to.
    """

    reason: str
    on_its_way: bool = False
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Following the chunk takes more work than a tick has time for; it is to be prepared."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A plan that follows a chunk.

    Attributes:
        plan: The new plan.
        splice_ns: When it begins to differ from the plan before.
        cut: What cut the chunk short, or "".
        slowed: Why and by how much it was slowed, or "".
    """

    plan: Plan
    splice_ns: SteadyNs
    cut: str = ""
    slowed: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk with the plan that follows it, worked out before the tick that takes it.

    Attributes:
        chunk: As it arrived.
        reference: The chunk on the steady clock.
        before: The plan that is continued; `followed` is of no use to any other.
        followed: The new plan, or what is in its way.
    """

    chunk: Timeline[StampNs]
    reference: Timeline[SteadyNs]
    before: Plan
    followed: Followed | Rejected


def to_steady(
    chunk: Timeline[StampNs], offset_ns: int, now_ns: SteadyNs
) -> Timeline[SteadyNs] | Rejected:
    """Put a chunk on the steady clock.

    Args:
        chunk: As it arrived.
        offset_ns: ROS clock minus steady clock [ns], held constant while the arm is armed so
            that consecutive chunks stay seamless.
        now_ns: Present time.

    Returns:
        The chunk, or why its times cannot be meant.
    """
    start_ns = SteadyNs(int(chunk.start_ns) - offset_ns)
    ahead_s = seconds(start_ns - now_ns)
    if ahead_s > _LATEST_START_S:
        return Rejected(f"the chunk starts {ahead_s:.1f} s in the future")
    if ahead_s + chunk.duration_s <= 0.0:
        return Rejected(f"the chunk ended {-ahead_s - chunk.duration_s:.2f} s ago")
    if len(chunk.times_s) < 2:
        return Rejected("the chunk has a single point")
    moved = Timeline(
        chunk.joint_names,
        start_ns,
        chunk.times_s,
        chunk.positions,
        chunk.velocities,
        chunk.accelerations,
        chunk.source,
    )
    return without_short_segments(moved, CLOSEST_S)


def to_ros(window: Timeline[SteadyNs], offset_ns: int, source: str) -> Timeline[StampNs]:
    """Put a window on the ROS clock.

    Args:
        window: On the steady clock.
        offset_ns: ROS clock minus steady clock [ns]; the same for all windows of one motion, or
            they would not continue each other.
        source: Source tag of the motion.
    """
    return Timeline(
        window.joint_names,
        StampNs(int(window.start_ns) + offset_ns),
        window.times_s,
        window.positions,
        window.velocities,
        window.accelerations,
        source,
    )


def usable_part(
    reference: Timeline[SteadyNs], limits: JointLimits, from_ns: SteadyNs
) -> tuple[Timeline[SteadyNs], str] | Rejected:
    """The first stretch after `from_ns` that is within the limits, and what cut it."""
    if reference.end_ns - from_ns < _SHORTEST_USE_NS:
        return Rejected(f"only {seconds(reference.end_ns - from_ns):.3f} s of the chunk are left")
    excess = excess_segments(reference, limits)
    if any(e.kind == "finite" for e in excess):
        return Rejected(str(excess[0]))
    if not excess:
        return reference, ""
    knots = knots_ns(reference)
    bad = np.zeros(len(knots) - 1, dtype=bool)
    bad[[e.segment for e in excess]] = True
    # Runs of good segments: [begin, end) indices where `bad` changes.
    edges = np.flatnonzero(np.diff(np.concatenate([[True], bad, [True]])))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        first_ns = max(int(knots[begin]), int(from_ns))
        if int(knots[end]) - first_ns >= _SHORTEST_USE_NS:
            begin_ns, end_ns = SteadyNs(int(knots[begin])), SteadyNs(int(knots[end]))
            return reference.window(begin_ns, end_ns), str(excess[0])
    return Rejected(str(excess[0]))


def follow(
    plan: Plan,
    reference: Timeline[SteadyNs],
    now_ns: SteadyNs,
    lead_s: float,
    limits: JointLimits,
) -> Followed | Rejected:
    """Join a chunk from the commanded state and brake where it ends.

    Args:
        plan: What is commanded now; it stays as it is until `now + lead`.
        reference: The chunk on the steady clock.
        now_ns: Present time.
        lead_s: How far ahead the controller already has its commands [s].
        limits: What the arm may be asked to do.
    """
    earliest_ns = SteadyNs(int(now_ns) + nanoseconds(lead_s))
    usable = usable_part(reference, limits, earliest_ns)
    if isinstance(usable, Rejected):
        return usable
    part, cut = usable
    splice_ns = plan.splice_time(SteadyNs(max(earliest_ns, part.start_ns)))
    splice_ns = _clear_of_both(plan, part, splice_ns)
    if splice_ns >= part.end_ns:
        return Rejected("the chunk is over before it can be joined")
    joined = rejoin(plan.sample(splice_ns), part, splice_ns, limits, plan.joined_ns)
    if joined is None:
        gap = plan.sample(splice_ns).position - part.sample(splice_ns).position
        worst = int(np.argmax(np.abs(gap)))
        left_s = (part.end_ns - splice_ns) / NS_PER_S
        return Rejected(
            f"the chunk cannot be joined: {limits.names[worst]} is {abs(gap[worst]):.3f} away "
            f"with {left_s:.2f} s left"
        )
    ended = with_brake(joined.timeline, limits, splice_ns)
    if ended is None:
        return Rejected("the arm could not be stopped within its limits on this chunk")
    motion, brake_ns = ended
    marks = ((int(splice_ns), reference.source), (brake_ns, "stop"))
    followed = plan.spliced(now_ns, motion, marks)
    return Followed(replace(followed, joined_ns=joined.joined_ns), splice_ns, cut)


def _clear_of_both(plan: Plan, part: Timeline[SteadyNs], time_ns: SteadyNs) -> SteadyNs:
    """A splice time that is clear of the knots of the plan and of the reference."""
    while True:
        moved = plan.splice_time(_clear(part, time_ns))
        if moved == time_ns:
            return moved
        time_ns = moved


def _clear(part: Timeline[SteadyNs], time_ns: SteadyNs) -> SteadyNs:
    return Plan(part, ((0, ""),)).splice_time(time_ns)

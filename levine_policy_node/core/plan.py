# SPDX-License-Identifier: Apache-2.0
"""What the arm is commanded to do: one timeline that always ends at rest, and who asked for it.

A plan is replaced from a splice time on; what lies before stays as it is, because the controller
already holds it. Past its end a plan stands still.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.shaper import brake, is_at_rest
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.timeline_cuts import MIN_GAP_NS, clear_cut
from levine_policy_node.core.units import NS_PER_S, FloatArray, SteadyNs, nanoseconds

HOLD = "hold"
STOP = "stop"
# A window reaches back, so that a controller whose clock is a little behind ours finds itself
# inside it; before its first knot it would start from the measured position, which is a step.
_PAST_NS = nanoseconds(0.05)
_KEPT_NS = 2 * _PAST_NS
_STEP_NS = nanoseconds(0.02)
_FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class Plan:
    """A commanded motion.

    Attributes:
        timeline: Ends at rest.
        marks: Times from which on a source commands, in order; the first holds from the start.
        joined_ns: When the reference is reached, if the plan follows one.
    """

    timeline: Timeline[SteadyNs]
    marks: tuple[tuple[int, str], ...]
    joined_ns: int = 0

    @staticmethod
    def holding(joint_names: tuple[str, ...], position: FloatArray, now_ns: SteadyNs) -> Plan:
        """Stand still at `position` (J,) [rad] from now on."""
        still = np.zeros((1, len(position)))
        timeline = Timeline(joint_names, now_ns, np.zeros(1), position[None, :], still, still)
        return Plan(timeline, ((int(now_ns), HOLD),))

    @property
    def end_ns(self) -> int:
        """When the plan comes to rest."""
        return self.timeline.end_ns

    def sample(self, now_ns: SteadyNs) -> JointPoint:
        """The commanded state at `now_ns`."""
        return self.timeline.sample(now_ns)

    def source(self, now_ns: SteadyNs) -> str:
        """Who commands at `now_ns`; `hold` once the plan is over."""
        if now_ns >= self.end_ns:
            return HOLD
        return next((s for t, s in reversed(self.marks) if now_ns >= t), self.marks[0][1])

    def stopping(self, now_ns: SteadyNs) -> bool:
        """Whether what is left of the plan is only its brake, or nothing."""
        return self.source(now_ns) in {HOLD, STOP}

    def splice_time(self, time_ns: SteadyNs) -> SteadyNs:
        """The first time from `time_ns` on where another motion may take over."""
        return clear_cut(self.timeline, time_ns, MIN_GAP_NS)

    def delayed(self, delay_ns: int) -> Plan:
        """The same motion, later."""
        moved = replace(self.timeline, start_ns=SteadyNs(self.timeline.start_ns + delay_ns))
        marks = tuple((time_ns + delay_ns, source) for time_ns, source in self.marks)
        return Plan(moved, marks, self.joined_ns + delay_ns)

    def spliced(
        self, now_ns: SteadyNs, next_part: Timeline[SteadyNs], marks: tuple[tuple[int, str], ...]
    ) -> Plan:
        """Follow `next_part` from its start on; it begins in this plan's state there.

        Args:
            now_ns: Present time; what is long past is forgotten.
            next_part: Begins at a `splice_time` and ends at rest.
            marks: Who commands during `next_part`.
        """
        splice_ns = next_part.start_ns
        begin_ns = clear_cut(self.timeline, SteadyNs(now_ns - _KEPT_NS), -MIN_GAP_NS)
        begin_ns = SteadyNs(max(begin_ns, self.timeline.start_ns))
        if begin_ns >= splice_ns:
            return Plan(next_part, marks)
        head = through(self.timeline, begin_ns, splice_ns)
        kept = tuple((t, HOLD if t >= self.end_ns else s) for t, s in self.marks if t < splice_ns)
        if self.end_ns < splice_ns:
            kept = (*kept, (self.end_ns, HOLD))
        return Plan(head.then(next_part), (*kept, *marks))

    def window(
        self, now_ns: SteadyNs, motion_end_ns: SteadyNs, limits: JointLimits
    ) -> tuple[Timeline[SteadyNs], int]:
        """The plan around `now_ns` until about `motion_end_ns`, then a brake to rest.

        This is what a controller may be left alone with. Where the arm could not be stopped
        within its limits at `motion_end_ns`, the plan is kept a little longer; its own end is at
        rest.

        Returns:
            The window, and until when it is the plan.
        """
        begin_ns = clear_cut(self.timeline, SteadyNs(now_ns - _PAST_NS), -MIN_GAP_NS)
        begin_ns = SteadyNs(max(begin_ns, self.timeline.start_ns))
        end_ns = clear_cut(self.timeline, motion_end_ns, MIN_GAP_NS)
        while end_ns < self.end_ns:
            tail = brake(self.sample(end_ns), limits, end_ns)
            if tail is not None:
                return through(self.timeline, begin_ns, end_ns).then(tail), int(end_ns)
            end_ns = clear_cut(self.timeline, SteadyNs(end_ns + _STEP_NS), MIN_GAP_NS)
        return through(self.timeline, begin_ns, end_ns), _FOREVER


def through(
    timeline: Timeline[SteadyNs], begin_ns: SteadyNs, end_ns: SteadyNs
) -> Timeline[SteadyNs]:
    """Cut [begin, end] out of a timeline that rests at its end, which may come before `end`."""
    last = SteadyNs(timeline.end_ns)
    if end_ns <= last:
        return timeline.window(begin_ns, end_ns)
    rest_ns = max(begin_ns, last)
    still = np.zeros((2, len(timeline.joint_names)))
    standing = Timeline(
        timeline.joint_names,
        SteadyNs(rest_ns),
        np.array([0.0, (end_ns - rest_ns) / NS_PER_S]),
        np.repeat(timeline.positions[-1:], 2, axis=0),
        still,
        still,
        timeline.source,
    )
    return standing if begin_ns >= last else timeline.window(begin_ns, last).then(standing)


def with_brake(
    motion: Timeline[SteadyNs], limits: JointLimits, earliest_ns: SteadyNs
) -> tuple[Timeline[SteadyNs], int] | None:
    """Append a brake to a motion, cutting it short where braking at its end is too late.

    Args:
        motion: Within the limits.
        limits: What the arm may be asked to do.
        earliest_ns: The motion is not cut before this time.

    Returns:
        The motion ending at rest and when the brake begins, or None if there is no safe end.
    """
    end_ns = SteadyNs(motion.end_ns)
    while end_ns > max(earliest_ns, motion.start_ns):
        part = motion if end_ns == motion.end_ns else motion.window(motion.start_ns, end_ns)
        final = part.sample(end_ns)
        if is_at_rest(final):
            return part, int(end_ns)
        tail = brake(final, limits, end_ns)
        if tail is not None:
            return part.then(tail), int(end_ns)
        end_ns = clear_cut(motion, SteadyNs(end_ns - _STEP_NS), -MIN_GAP_NS)
    return None

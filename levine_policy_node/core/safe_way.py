# SPDX-License-Identifier: Apache-2.0
"""A plan is cut to the part that is clear, with a brake that is clear, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.collision_rules import (
    CELL_S,
    Breach,
    Obstacles,
    TooFast,
    first_breach,
    too_fast,
)
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.plan import STOP, Plan
from levine_policy_node.core.reference import Followed, Later, Rejected, follow
from levine_policy_node.core.shaper import brake
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.timeline_cuts import MIN_GAP_NS, clear_cut
from levine_policy_node.core.units import NS_PER_S, SteadyNs, nanoseconds

# Less is not worth a motion: an arm that is pushed on would creep.
_SHORTEST_NS = nanoseconds(0.06)
# How far before the place in question a brake begins, in stopping times.
_EARLIER = (0.5, 1.0, 2.0)
_SLOWEST = 3.0
_SLOWING_ROOM = 1.03
_LEAST_SHARE = 1e-3
# So that a chunk that was slowed by as much is within them.
_ROUNDING = 1e-6
# Whoever sends more than that must not fill the memory.
_LONGEST_S = 20.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a plan.

    Attributes:
        plan: Clear from the splice on.
        cut: What it was cut short for, or "".
    """

    plan: Plan
    cut: str = ""


def follow_clear(
    plan: Plan,
    reference: Timeline[SteadyNs],
    now_ns: SteadyNs,
    lead_s: float,
    limits: JointLimits,
    around: Obstacles | None,
) -> Followed | Rejected:
    """Follow a chunk as `reference.follow` does, as far as the way is clear.

    A chunk on which the hand would be too fast is slowed along its path first.

    Args:
        plan: See `follow`, as the next three.
        reference: The chunk on the steady clock.
        now_ns: Present time.
        lead_s: How far ahead the controller has its commands [s].
        limits: What the arm may be asked to do.
        around: What to stay clear of; None if the robot file says nothing of it.
    """
    followed = follow(plan, reference, now_ns, lead_s, limits)
    if isinstance(followed, Rejected) or around is None:
        return followed
    look = _look(followed.plan.timeline, followed.splice_ns, around)
    fast, slowed = look.fast, ""
    if fast is not None:
        factor = min(fast.peak / around.tool_speed * _SLOWING_ROOM, _SLOWEST)
        # The way to the chunk is to be slower, too.
        gentle = _gentle(followed.plan.timeline, followed.splice_ns, limits, 1.0 / factor)
        slower = follow(plan, slower_by(reference, factor), now_ns, lead_s, gentle)
        if isinstance(slower, Followed):
            followed, slowed = slower, f"{fast.text}; slowed {factor:.2f} times"
            look = _look(followed.plan.timeline, followed.splice_ns, around)
    kept = _kept(followed.plan, look, limits, around)
    if isinstance(kept, Rejected):
        return kept
    return replace(followed, plan=kept.plan, cut=kept.cut or followed.cut, slowed=slowed)


def follow_if_clear(
    plan: Plan,
    reference: Timeline[SteadyNs],
    now_ns: SteadyNs,
    lead_s: float,
    limits: JointLimits,
    around: Obstacles | None,
) -> Followed | Rejected | Later:
    """Follow a chunk as `follow_clear` does, if it is clear as it is.

    Finding out what can be kept of one that is not takes several times as long.
    """
    followed = follow(plan, reference, now_ns, lead_s, limits)
    if isinstance(followed, Rejected) or around is None:
        return followed
    look = _look(followed.plan.timeline, followed.splice_ns, around)
    return followed if look.cut() is None else Later()


def slower_limits(
    plan: Plan, splice_ns: SteadyNs, limits: JointLimits, around: Obstacles
) -> JointLimits | None:
    """Limits with which the plan would be made anew, its hand not too fast; None if it is not."""
    motion, _ = _sampled(plan.timeline, splice_ns)
    fast = too_fast(motion, around)
    if fast is None:
        return None
    return _gentle(plan.timeline, splice_ns, limits, around.tool_speed / fast.peak / _SLOWING_ROOM)


def _gentle(
    timeline: Timeline[SteadyNs], begin_ns: SteadyNs, limits: JointLimits, share: float
) -> JointLimits:
    """Limits with this share of the velocities that the joints have from `begin_ns` on.

    No joint is held below its present speed, from which there would be no motion.
    """
    motion, _ = _sampled(timeline, begin_ns)
    used = np.abs(motion.velocity)
    wanted = np.maximum(share * used.max(axis=0), used[0]) * (1.0 + _ROUNDING)
    wanted = np.maximum(wanted, _LEAST_SHARE * limits.velocity)
    return replace(limits, velocity=np.minimum(wanted, limits.velocity))


def slower_by(reference: Timeline[SteadyNs], factor: float) -> Timeline[SteadyNs]:
    """The same path from the same start, `factor` times slower."""
    return replace(
        reference,
        times_s=reference.times_s * factor,
        velocities=reference.velocities / factor,
        accelerations=reference.accelerations / factor**2,
    )


def keep_clear(
    plan: Plan,
    splice_ns: SteadyNs,
    limits: JointLimits,
    around: Obstacles,
    *,
    leaving: bool = False,
) -> Kept | Rejected:
    """Keep of a plan what is clear, and brake where that ends.

    Args:
        plan: Ends at rest.
        splice_ns: From when on it is looked at; before, it is as it was.
        limits: What the arm may be asked to do.
        around: What to stay clear of.
        leaving: Whether the arm may be too near at the splice, if it does not come nearer.
    """
    look = _look(plan.timeline, splice_ns, around, leaving=leaving)
    return _kept(plan, look, limits, around, leaving=leaving)


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen from a time on: what is in the way, and where the hand is too fast."""

    begin_ns: SteadyNs
    period_s: float
    breach: Breach | None
    fast: TooFast | None

    def cut(self) -> tuple[SteadyNs, str] | None:
        """Until when all is well and why no longer; None if to the end."""
        found = [why for why in (self.breach, self.fast) if why is not None]
        if not found:
            return None
        first = min(found, key=lambda why: why.index)
        after_s = first.index * self.period_s
        return SteadyNs(self.begin_ns + nanoseconds(after_s)), f"{first.text} in {after_s:.2f} s"


def _look(
    timeline: Timeline[SteadyNs],
    begin_ns: SteadyNs,
    around: Obstacles,
    *,
    leaving: bool = False,
) -> _Look:
    motion, period_s = _sampled(timeline, begin_ns)
    breach = first_breach(motion, period_s, around, leaving=leaving)
    last = len(motion.position) - 1
    if breach is None and (timeline.end_ns - begin_ns) / NS_PER_S > (last + 1) * period_s:
        breach = Breach(last, f"no motion is looked at for more than {_LONGEST_S:g} s")
    return _Look(begin_ns, period_s, breach, too_fast(motion, around))


def _kept(
    plan: Plan, look: _Look, limits: JointLimits, around: Obstacles, *, leaving: bool = False
) -> Kept | Rejected:
    cut = look.cut()
    if cut is None:
        return Kept(plan)
    at_ns, text = cut
    earliest_ns = SteadyNs(look.begin_ns + _SHORTEST_NS)
    stopping_ns = nanoseconds(_stopping_s(plan.sample(at_ns), limits))
    for share in _EARLIER:
        wanted_ns = SteadyNs(max(int(at_ns) - round(share * stopping_ns), int(earliest_ns)))
        begin_ns = clear_cut(plan.timeline, wanted_ns, -MIN_GAP_NS)
        if begin_ns <= look.begin_ns or begin_ns > at_ns:
            break
        tail = brake(plan.sample(begin_ns), limits, begin_ns)
        if tail is not None:
            motion = plan.timeline.window(plan.timeline.start_ns, begin_ns).then(tail)
            if _look(motion, begin_ns, around, leaving=leaving).cut() is None:
                marks = tuple(mark for mark in plan.marks if mark[0] < begin_ns)
                return Kept(replace(plan, timeline=motion, marks=(*marks, (begin_ns, STOP))), text)
        if wanted_ns == earliest_ns:
            break
    # Where only the hand is too fast, nothing is in the way: the plan before goes on.
    return Rejected(text, on_its_way=True, blocked=look.breach is not None)


def _sampled(timeline: Timeline[SteadyNs], begin_ns: SteadyNs) -> tuple[JointPoint, float]:
    """The motion from `begin_ns` on at equal times, and how far apart those are [s]."""
    begin_s = max(0.0, (int(begin_ns) - int(timeline.start_ns)) / NS_PER_S)
    span_s = min(timeline.duration_s - begin_s, _LONGEST_S)
    if span_s <= 0.0:
        return timeline.sample_each(np.array([timeline.duration_s])), CELL_S
    cells = int(np.ceil(span_s / CELL_S))
    at_s = np.linspace(begin_s, begin_s + span_s, cells + 1)
    return timeline.sample_each(np.minimum(at_s, timeline.duration_s)), span_s / cells


def _stopping_s(state: JointPoint, limits: JointLimits) -> float:
    slowing = np.abs(state.velocity) / limits.acceleration
    return float(np.max(slowing + 2.0 * limits.acceleration / limits.jerk))

# SPDX-License-Identifier: Apache-2.0
"""Jerk-limited motions between states: brake, go to a pose, join a moving reference.

All of them start from the *commanded* state, never from the measured one, so that one motion
turns into the next without a step. Every result was checked against the limits it was made for;
None means that there is no such motion. Time-optimal profiles come from Ruckig (Berscheid and
Kroeger, Jerk-limited Real-time Trajectory Generation with Arbitrary Target States, RSS 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.fade import fade_coefficients, faded, gap_at_start
from levine_policy_node.core.jerk_profile import GRID_NS, GRID_S, End, Profiles, profile_timeline
from levine_policy_node.core.limits import BY_POSITION, JointLimits, first_excess
from levine_policy_node.core.ruckig_profiles import arrival_profiles, stop_profiles
from levine_policy_node.core.stop_bounds import may_stop
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.timeline_cuts import clear_cut
from levine_policy_node.core.units import NS_PER_S, FloatArray, SteadyNs, nanoseconds

# Share of the limits that profiles are made for: what putting them on the grid adds has to fit
# into the rest. Short motions need more room.
_SHARES = (0.99, 0.97, 0.9, 0.75, 0.5)
_ARRIVING_SHARE = 0.9
_FADES_S = (0.05, 0.1, 0.2, 0.4)
_JOIN_GRID_S = (*(0.05 * n for n in range(1, 13)), *(0.1 * n for n in range(7, 21)))
_AT_REST = 1e-12
# What a motion that is cut and sampled again differs by, and less than any controller resolves.
_ROUNDING = {"position": 1e-12, "velocity": 1e-11, "acceleration": 1e-9}


def is_at_rest(state: JointPoint) -> bool:
    """Whether velocity and acceleration are zero."""
    return bool(
        np.max(np.abs(state.velocity)) < _AT_REST and np.max(np.abs(state.acceleration)) < _AT_REST
    )


def stand(
    position: FloatArray, limits: JointLimits, start_ns: SteadyNs, duration_s: float
) -> Timeline[SteadyNs]:
    """Stand still at `position` (J,) [rad]."""
    still = np.zeros((2, len(position)))
    return Timeline(
        limits.names,
        start_ns,
        np.array([0.0, duration_s]),
        np.stack([position, position]),
        still,
        still,
    )


def brake(state: JointPoint, limits: JointLimits, start_ns: SteadyNs) -> Timeline[SteadyNs] | None:
    """Come to rest from `state`, all joints together so that the path stays nearly straight.

    Where that would leave the position range, each joint stops as soon as it can instead. One that
    is at rest long before the others is carried on by what the grid leaves of its acceleration,
    so the last attempt leaves none of it, and needs more of the limits' room for that.

    Args:
        state: Commanded state at `start_ns`.
        limits: What the arm may be asked to do.
        start_ns: When to begin.

    Returns:
        A timeline that ends at rest, or None if every stop from `state` breaks a limit.
    """
    if is_at_rest(state):
        held = stand(state.position, limits, start_ns, 100 * GRID_S)
        return None if limits.outside(state.position) else held
    if not may_stop(state, limits):
        return None
    still = np.zeros_like(state.position)
    for straight, whole in ((True, False), (False, False), (False, True)):
        stop = _shape(
            lambda part: stop_profiles(state, part, straight=straight),  # noqa: B023  called here
            state,
            End(still, still),
            limits,
            start_ns,
            whole=whole,
        )
        if stop is not None:
            return stop
    return None


def move_to(
    state: JointPoint, target: FloatArray, limits: JointLimits, start_ns: SteadyNs
) -> Timeline[SteadyNs] | None:
    """Go from `state` to rest at `target` (J,) [rad] as fast as the limits allow."""
    if limits.outside(target):
        return None
    if is_at_rest(state) and np.array_equal(state.position, target):
        return stand(target, limits, start_ns, 100 * GRID_S)
    return _arrive(state, JointPoint.at_rest(target), limits, start_ns, None)


@dataclass(frozen=True, slots=True)
class Joined:
    """A motion that ends as a reference does, and when it comes onto that."""

    timeline: Timeline[SteadyNs]
    joined_ns: int


def rejoin(
    state: JointPoint,
    reference: Timeline[SteadyNs],
    start_ns: SteadyNs,
    limits: JointLimits,
    promised_ns: int = 0,
) -> Joined | None:
    """Get from `state` onto a moving reference and follow it to its end.

    A small difference fades out over a fixed time. For a larger one the earliest point of the
    reference is found that can be reached in time, in its own position, velocity and
    acceleration.

    Args:
        state: Commanded state at `start_ns`.
        reference: Motion to join, itself within the limits; `start_ns` lies within it.
        start_ns: When to leave `state`.
        limits: What the arm may be asked to do.
        promised_ns: When the motion so far would have come onto the reference; kept if possible,
            so that a reference that is renewed meanwhile is reached all the same.

    Returns:
        The motion from `start_ns` to the end of the reference, or None if the reference cannot
        be reached before it ends.
    """
    rest = reference.window(start_ns, SteadyNs(reference.end_ns))
    here = rest.sample_s(0.0)
    if all(
        np.max(np.abs(getattr(here, name) - getattr(state, name))) <= rounding
        for name, rounding in _ROUNDING.items()
    ):
        return Joined(rest, int(start_ns))
    ends = [SteadyNs(start_ns + nanoseconds(duration_s)) for duration_s in _FADES_S]
    if promised_ns > ends[0]:
        ends.insert(0, SteadyNs(promised_ns))
    for end_ns in ends:
        end_ns = clear_cut(reference, end_ns, GRID_NS)
        faded = _faded(state, rest, end_ns, limits) if end_ns < reference.end_ns else None
        if faded is not None:
            return Joined(faded, int(end_ns))
    return _catch_up(state, reference, start_ns, limits)


def _catch_up(
    state: JointPoint, reference: Timeline[SteadyNs], start_ns: SteadyNs, limits: JointLimits
) -> Joined | None:
    for duration_s in _JOIN_GRID_S:
        end_ns = clear_cut(reference, SteadyNs(start_ns + nanoseconds(duration_s)), GRID_NS)
        if end_ns >= reference.end_ns:
            return None
        cells = int(end_ns - start_ns) // GRID_NS
        join = _arrive(state, reference.sample(end_ns), limits, start_ns, cells)
        if join is not None:
            whole = join.then(reference.window(end_ns, SteadyNs(reference.end_ns)))
            return Joined(whole, int(end_ns))
    return None


def _faded(
    state: JointPoint, rest: Timeline[SteadyNs], end_ns: SteadyNs, limits: JointLimits
) -> Timeline[SteadyNs] | None:
    """Fade the difference of `state` from `rest` out by `end_ns`, if the limits allow."""
    fade_ns = int(end_ns) - int(rest.start_ns)
    jerk = 6.0 * fade_coefficients(gap_at_start(state, rest), fade_ns / NS_PER_S)[3]
    if np.any(np.abs(jerk) > 2.0 * limits.jerk):
        # The reference takes part of the jerk, but never more than all of it.
        return None
    motion = faded(state, rest, fade_ns)
    return None if first_excess(motion, limits) is not None else motion


def _arrive(
    state: JointPoint,
    target: JointPoint,
    limits: JointLimits,
    start_ns: SteadyNs,
    cells: int | None,
) -> Timeline[SteadyNs] | None:
    """Reach `target` after exactly `cells` grid cells, or as soon as possible if None."""
    end = End(target.velocity, target.acceleration, target.position)
    motion = _shape(
        lambda part: arrival_profiles(state, target, part, cells),
        state,
        end,
        limits,
        start_ns,
        whole=True,
    )
    if motion is not None or limits.by_position is None:
        return motion
    # Braked with the whole acceleration it was too fast for where it came.
    gentle = _ARRIVING_SHARE * limits.by_position.arriving(
        state.position, target.position, target.velocity
    )
    return _shape(
        lambda part: arrival_profiles(state, target, part.gentler(gentle), cells),
        state,
        end,
        limits,
        start_ns,
        whole=True,
    )


def _shape(
    solve: Callable[[JointLimits], Profiles | None],
    state: JointPoint,
    end: End,
    limits: JointLimits,
    start_ns: SteadyNs,
    *,
    whole: bool,
) -> Timeline[SteadyNs] | None:
    """Solve within ever smaller shares of the limits until the result on the grid fits them."""
    for share in _SHARES:
        solved = solve(limits.scaled(share))
        if solved is None:
            # Less of the limits takes longer still, so a fixed time is out of reach.
            return None
        shaped = profile_timeline(start_ns, limits.names, state, end, solved, whole=whole)
        excess = first_excess(shaped, limits)
        if excess is None:
            return shaped
        if excess.kind in {"position", BY_POSITION}:
            # Slower goes farther: less of the limits does not help.
            return None
    return None

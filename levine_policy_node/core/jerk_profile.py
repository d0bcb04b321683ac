# SPDX-License-Identifier: Apache-2.0
"""From jerk profiles per joint to the knots of one timeline.

Ruckig switches the jerk of every joint at its own times, which may lie arbitrarily close
together. Knots that close cannot be sent: their times travel in whole nanoseconds, and the jerk
of a quintic over a few microseconds is mostly rounding. So every switch moves to a grid. What
that changes at the end is given back by a small correction of the jerk, spread over the motion.
Between two knots every joint then has constant jerk, which the quintic reproduces exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, SteadyNs

GRID_NS = 200_000
"""Spacing of the times at which the jerk may change [ns]."""

GRID_S = GRID_NS / 1e9
MIN_CELLS = 8

JerkProfile = Sequence[tuple[float, float]]
"""Durations [s] and the jerk during them [rad/s^3] of one joint."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Jerk profile of every joint over a whole number of grid cells."""

    joints: Sequence[JerkProfile]
    cells: int


@dataclass(frozen=True, slots=True)
class End:
    """State to arrive in; without a position, wherever the motion comes to it."""

    velocity: FloatArray
    acceleration: FloatArray
    position: FloatArray | None = None


def grid_cells(duration_s: float) -> int:
    """Grid cells of a motion that takes at least `duration_s` [s]."""
    return max(MIN_CELLS, int(np.ceil(duration_s / GRID_S - 1e-6)))


def profile_timeline(
    start_ns: SteadyNs,
    names: tuple[str, ...],
    begin: JointPoint,
    end: End,
    profiles: Profiles,
    *,
    whole: bool,
) -> Timeline[SteadyNs]:
    """Lay the profiles of all joints on the grid and integrate them.

    Args:
        start_ns: Time of the first knot.
        names: J joint names.
        begin: State at the first knot.
        end: State at the last knot, met exactly.
        profiles: Of the J joints.
        whole: Keep the changes of acceleration rather than the jerk where the grid makes a part
            shorter or longer.

    Returns:
        The timeline; its jerk may exceed that of the profiles by the correction, which callers
        check.
    """
    edges, jerks = _on_grid(profiles.joints, profiles.cells, whole=whole)
    bounds = edges / profiles.cells
    duration_s = profiles.cells * GRID_S
    jerks = jerks + _correction(bounds, jerks, begin, end, duration_s)
    # Whole nanoseconds over 1e9, so the times survive a Duration message unchanged.
    times_s = edges * GRID_NS / 1e9
    p, v, a = _integrate(begin, jerks, np.diff(times_s)[:, None])
    v[-1], a[-1] = end.velocity, end.acceleration
    if end.position is not None:
        p[-1] = end.position
    return Timeline(names, start_ns, times_s, p, v, a)


def _on_grid(
    profiles: Sequence[JerkProfile], cells: int, *, whole: bool
) -> tuple[FloatArray, FloatArray]:
    """Common segment edges (S+1,) in cells and the jerk in each segment (S, J).

    `whole`, every part changes the acceleration by all of what it did: an acceleration left over
    by the grid would carry a long motion far off its way, and the correction would have to bring
    it back.
    """
    found_by = _whole_switches if whole else _switches
    switches = [found_by(profile, cells) for profile in profiles]
    # At least four segments leave the correction the freedom it needs.
    found = {cells * quarter // 4 for quarter in range(5)}
    edges = np.array(sorted(found.union(*([at for at, _ in switch] for switch in switches))))
    columns: list[FloatArray] = []
    for switch in switches:
        ends = [at for at, _ in switch]
        # Behind its last switch a joint has no jerk.
        jerks = np.array([jerk for _, jerk in switch] + [0.0])
        columns.append(jerks[np.array(ends).searchsorted(edges[:-1], side="right")])
    return edges.astype(np.float64), np.column_stack(columns)


def _switches(profile: JerkProfile, cells: int) -> list[tuple[int, float]]:
    """Ends of the profile's parts in cells, each with the jerk up to it."""
    ends: list[tuple[int, float]] = []
    elapsed_s = 0.0
    for duration_s, jerk in profile:
        elapsed_s += duration_s
        ends.append((min(cells, round(elapsed_s / GRID_S)), jerk))
    return ends


def _whole_switches(profile: JerkProfile, cells: int) -> list[tuple[int, float]]:
    """As `_switches`, with the more jerk the shorter the grid makes a part, and the other way.

    A part that the grid makes nothing of is left to the shorter one of its neighbours: to change
    the acceleration by as much, the longer one would take its time.
    """
    bounds, changes, elapsed_s = [0], [duration_s * jerk for duration_s, jerk in profile], 0.0
    for duration_s, _ in profile:
        elapsed_s += duration_s
        bounds.append(min(cells, round(elapsed_s / GRID_S)))
    lengths = [end - begin for begin, end in pairwise(bounds)]
    left = [k for k, length in enumerate(lengths) if length > 0]
    for k, length in enumerate(lengths):
        beside = [*(i for i in left if i < k)][-1:] + [i for i in left if i > k][:1]
        if length == 0 and beside:
            changes[min(beside, key=lengths.__getitem__)] += changes[k]
    return [(bounds[k + 1], changes[k] / (lengths[k] * GRID_S)) for k in left]


def _correction(
    bounds: FloatArray, jerks: FloatArray, begin: JointPoint, end: End, duration_s: float
) -> FloatArray:
    """Smallest jerk change (S, J), in the mean square, that meets the end state.

    With u = t/T, the end state is linear in the jerk: a_T = a_0 + T sum j m0,
    v_T = v_0 + a_0 T + T^2 sum j m1 and p_T = p_0 + v_0 T + a_0 T^2/2 + T^3 sum j m2, where m_n
    is the integral of (1-u)^n / n! over a segment.
    """
    rest, t = 1.0 - bounds, duration_s
    powers: FloatArray = np.array([rest, rest**2 / 2.0, rest**3 / 6.0])
    moments: FloatArray = powers[:, :-1] - powers[:, 1:]
    wanted = [
        (end.acceleration - begin.acceleration) / t,
        (end.velocity - begin.velocity - begin.acceleration * t) / t**2,
    ]
    if end.position is not None:
        moved = begin.velocity * t + begin.acceleration * t**2 / 2.0
        wanted.append((end.position - begin.position - moved) / t**3)
    moments = moments[: len(wanted)]
    weighted: FloatArray = np.array(moments / moments[0], dtype=np.float64)
    missing = np.array(wanted) - moments @ jerks
    gram: FloatArray = weighted @ moments.T
    factors: FloatArray = np.asarray(np.linalg.solve(gram, missing), dtype=np.float64)
    return weighted.T @ factors


def _integrate(
    begin: JointPoint, jerks: FloatArray, h: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positions, velocities and accelerations at the S+1 knots, each (S+1, J)."""
    p, v, a = (np.empty((len(jerks) + 1, jerks.shape[1])) for _ in range(3))
    a[0], v[0], p[0] = begin.acceleration, begin.velocity, begin.position
    a[1:] = jerks * h
    np.cumsum(a, axis=0, out=a)
    v[1:] = a[:-1] * h + jerks * (h**2 / 2.0)
    np.cumsum(v, axis=0, out=v)
    p[1:] = v[:-1] * h + a[:-1] * (h**2 / 2.0) + jerks * (h**3 / 6.0)
    np.cumsum(p, axis=0, out=p)
    return p, v, a

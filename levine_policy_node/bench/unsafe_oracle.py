# SPDX-License-Identifier: Apache-2.0
"""Judges what is sent to an arm, from nothing but numbers and the arm's limits.

It imports nothing of this package but `unsafe_polynomial`, which imports nothing, so that no
mistake is made twice: its own polynomial, its own extrema, its own differences. What may not be
found anywhere in a command or in a window:

* a number that is not finite, or knots that do not come one after the other;
* a position, velocity, acceleration or jerk beyond its limit by more than 1e-9 [rad, s];
* a jump where one window takes over from another, or a window that does not end at rest.

To 1e-9 comes what rounding alone can make of the numbers sent, and no more: a position near 1 rad
is stored to 1e-16, and over a segment of 1 ms that is a jerk of 1e-5 rad/s^3.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from levine_policy_node.bench.unsafe_polynomial import (
    Floats,
    coefficients,
    edges,
    jerk_roots,
    largest,
    roots,
    value,
    vertex,
)

KINDS = ("finite", "position", "velocity", "acceleration", "jerk", "seam", "rest")
BEYOND = 1e-9
_EPS = float(np.finfo(np.float64).eps)
_SAMPLES = np.linspace(0.0, 1.0, 9)
# Largest derivatives of a quintic step over a unit span (10u^3 - 15u^4 + 6u^5), rounded up.
_STEP_PEAKS = (1.0, 1.9, 5.8, 60.0)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of J joints, each (J,): [rad], [rad/s], [rad/s^2], [rad/s^3]."""

    lower: Floats
    upper: Floats
    velocity: Floats
    acceleration: Floats
    jerk: Floats


@dataclass(frozen=True, slots=True)
class Motion:
    """A window as its message says it: whole nanoseconds, and three numbers per knot and joint.

    Attributes:
        start_ns: Time of the first knot.
        knots_ns: Time from the start of each knot, (K,) whole nanoseconds.
        positions: (K, J), and so on.
    """

    start_ns: int
    knots_ns: npt.NDArray[np.int64]
    positions: Floats
    velocities: Floats
    accelerations: Floats


@dataclass
class Verdict:
    """What was judged and found.

    Attributes:
        windows: Windows judged.
        commands: Commands judged.
        unsafe: How many of both were unsafe.
        worst: By kind, how far beyond limit + 1e-9 + rounding; negative is inside.
        first: The first unsafe one, in words.
    """

    windows: int = 0
    commands: int = 0
    unsafe: int = 0
    worst: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, -np.inf))
    first: str = ""

    def add(self, kind: str, excess: float, what: str) -> bool:
        """Note how far something is beyond its limit; NaN is infinitely far."""
        beyond = excess if np.isfinite(excess) or excess < 0.0 else np.inf
        self.worst[kind] = max(self.worst[kind], beyond)
        if beyond > 0.0 and not self.first:
            self.first = f"{what}: {kind} by {beyond:.3g}"
        return beyond > 0.0

    def merge(self, other: Verdict) -> None:
        """Add what another one judged."""
        self.windows += other.windows
        self.commands += other.commands
        self.unsafe += other.unsafe
        self.worst = {kind: max(self.worst[kind], other.worst[kind]) for kind in KINDS}
        self.first = self.first or other.first


def judge_windows(windows: list[Motion], bounds: Bounds, verdict: Verdict, what: str) -> None:
    """Judge several windows by themselves, all their segments at once."""
    verdict.windows += len(windows)
    owners: list[int] = []
    rows: list[Floats] = []
    spans: list[Floats] = []
    unsafe: set[int] = set()
    for i, window in enumerate(windows):
        if not _sound(window):
            verdict.add("finite", np.inf, what)
            unsafe.add(i)
            continue
        verdict.add("finite", -1.0, what)
        p, v, a = window.positions, window.velocities, window.accelerations
        still = float(max(np.abs(v[-1]).max(), np.abs(a[-1]).max()))
        if verdict.add("rest", still - BEYOND, what):
            unsafe.add(i)
        if len(p) == 1:
            p, v, a = np.repeat(p, 2, 0), np.repeat(v, 2, 0), np.repeat(a, 2, 0)
        spans.append(np.diff(window.knots_ns) * 1e-9 if len(window.knots_ns) > 1 else np.ones(1))
        rows.append(np.stack([p[:-1], v[:-1], a[:-1], p[1:], v[1:], a[1:]]))
        owners.extend([i] * len(spans[-1]))
    if rows:
        excess = _segment_excess(np.concatenate(spans), np.concatenate(rows, axis=1), bounds)
        for k, kind in enumerate(KINDS[1:5]):
            verdict.add(kind, float(excess[k].max()), what)
        unsafe |= {owners[s] for s in np.flatnonzero(~(excess.max(axis=0) <= 0.0))}
    verdict.unsafe += len(unsafe)


def judge_seam(old: Motion, new: Motion, times_ns: list[int], verdict: Verdict, what: str) -> None:
    """Judge the change from one window to the next at any of these times."""
    if not (_sound(old) and _sound(new)):
        return
    worst = -np.inf
    for time_ns in times_ns:
        before, after = at(old, time_ns), at(new, time_ns)
        size = max(1.0, float(np.abs(old.positions).max()))
        span_s = min(_span(old, time_ns), _span(new, time_ns))
        for k, (one, other) in enumerate(zip(before, after, strict=True)):
            rounding = 16.0 * _EPS * size * _STEP_PEAKS[k] / span_s**k
            worst = max(worst, float(np.abs(one - other).max()) - BEYOND - rounding)
    verdict.unsafe += verdict.add("seam", worst, what)


def judge_commands(
    times_ns: list[int], positions: list[Floats], bounds: Bounds, verdict: Verdict, what: str
) -> None:
    """Judge consecutive positions of one motion.

    A divided difference never exceeds the largest value of the derivative that it stands for
    (mean value theorem), so beyond a limit it proves a motion beyond it.

    Args:
        times_ns: When each takes effect, increasing.
        positions: Each (J,).
        bounds: Of the arm.
        verdict: To note it in.
        what: To say where it was.
    """
    verdict.commands += len(positions)
    table, times = np.stack(positions), np.array(times_ns, dtype=np.int64) * 1e-9
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        verdict.add("finite", np.inf, what)
        verdict.unsafe += int((~finite).sum())
        return
    verdict.add("finite", -1.0, what)
    size = max(1.0, float(np.abs(table).max()))
    excess = np.maximum(bounds.lower - table, table - bounds.upper).max(axis=1) - BEYOND
    verdict.add("position", float(excess.max()), what)
    bad = excess > 0.0
    limits = (bounds.velocity, bounds.acceleration, bounds.jerk)
    gaps = shortest = np.diff(times)
    for order, (kind, limit) in enumerate(zip(KINDS[2:5], limits, strict=True), start=1):
        if len(table) < 2:
            break
        span_s = times[order:] - times[:-order]
        table = np.diff(table, axis=0) * (order / span_s[:, None])
        if order > 1:
            shortest = np.minimum(shortest[:-1], gaps[order - 1 :])
        rounding = 2.0**order * 8.0 * _EPS * size / shortest**order
        excess = (np.abs(table) - limit).max(axis=1) - BEYOND - rounding
        verdict.add(kind, float(excess.max()), what)
        bad[order:] |= excess > 0.0
    verdict.unsafe += int(bad.sum())


def at(motion: Motion, time_ns: int) -> tuple[Floats, Floats, Floats]:
    """Position, velocity and acceleration at a time; at rest outside of the motion, each (J,)."""
    k = int(np.searchsorted(motion.knots_ns, time_ns - motion.start_ns, side="right")) - 1
    last = len(motion.knots_ns) - 1
    if k < 0 or k >= last:
        end = 0 if k < 0 else last
        exact = time_ns - motion.start_ns == motion.knots_ns[end]
        still = np.zeros_like(motion.positions[end])
        return (
            motion.positions[end],
            motion.velocities[end] if exact else still,
            motion.accelerations[end] if exact else still,
        )
    h = float(motion.knots_ns[k + 1] - motion.knots_ns[k]) * 1e-9
    p, v, a = motion.positions, motion.velocities, motion.accelerations
    ends = np.stack([p[k], v[k], a[k], p[k + 1], v[k + 1], a[k + 1]])[:, None, :]
    c = coefficients(np.array([h]), ends)
    u = float(time_ns - motion.start_ns - motion.knots_ns[k]) * 1e-9 / h
    found = [value(c, np.array(u), order)[0] / h**order for order in range(3)]
    return found[0], found[1], found[2]


def _sound(motion: Motion) -> bool:
    values = (motion.positions, motion.velocities, motion.accelerations)
    rising = bool((np.diff(motion.knots_ns) > 0).all())
    return rising and all(bool(np.isfinite(value).all()) for value in values)


def _span(motion: Motion, time_ns: int) -> float:
    """Length of the segment that a time lies in [s]; a long one where the motion is over."""
    k = int(np.searchsorted(motion.knots_ns, time_ns - motion.start_ns, side="right"))
    if k in {0, len(motion.knots_ns)}:
        return 1.0
    return float(motion.knots_ns[k] - motion.knots_ns[k - 1]) * 1e-9


def _segment_excess(h: Floats, ends: Floats, bounds: Bounds) -> Floats:
    """How far each segment reaches beyond each limit, the worst joint of it, shape (4, N)."""
    c = coefficients(h, ends)
    t = h[:, None]
    size = np.maximum(1.0, np.abs(ends[[0, 3]]).max(axis=0))
    slack = [BEYOND + 8.0 * _EPS * size * _STEP_PEAKS[k] / t**k for k in range(4)]
    turns = jerk_roots(c)
    jerk = largest(c, [*edges(c), vertex(c)], 3) / t**3
    acceleration = largest(c, [*edges(c), *turns], 2) / t**2
    # Between samples a curve leaves its chord by at most an eighth of spacing^2 * second
    # derivative; only segments that this does not clear are looked at exactly.
    gap = (t * _SAMPLES[1]) ** 2 / 8.0
    sampled = [value(c, np.array(u), 1) / t for u in _SAMPLES]
    velocity = np.abs(np.stack(sampled)).max(axis=0)
    path = np.stack([value(c, np.array(u), 0) for u in _SAMPLES])
    beyond = np.maximum(bounds.lower - path.min(axis=0), path.max(axis=0) - bounds.upper)
    doubtful = (velocity + gap * jerk > bounds.velocity) | (beyond + gap * acceleration > 0.0)
    rows = np.flatnonzero(doubtful.any(axis=1))
    if len(rows):
        part = c[:, rows]
        flat = roots(part, [turn[rows] for turn in turns], 2)
        velocity[rows] = largest(part, [*edges(part), *flat], 1) / t[rows]
        ends_of = [value(part, u, 0) for u in (*edges(part), *roots(part, flat, 1))]
        low, high = np.min(ends_of, axis=0), np.max(ends_of, axis=0)
        beyond[rows] = np.maximum(bounds.lower - low, high - bounds.upper)
    over = (
        beyond - slack[0],
        velocity - bounds.velocity - slack[1],
        acceleration - bounds.acceleration - slack[2],
        jerk - bounds.jerk - slack[3],
    )
    return np.stack([kind.max(axis=1) for kind in over])

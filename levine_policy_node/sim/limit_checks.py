# SPDX-License-Identifier: Apache-2.0
"""Whether what the arm is told is within the limits.

Two checks. Each trajectory that arrives is examined analytically, whole, with the tail that may
never be played. And the setpoints, one per period, are differenced: velocity, acceleration and
jerk are divided differences times 1, 2 and 6, which by the mean value theorem never exceed the
largest value of the derivative itself. So a command within its limits is never reported, and a
step where one trajectory replaces another always is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import comb
from typing import Literal, get_args

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import JointPoint, Timeline, quintic_coefficients
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs, seconds

Kind = Literal["position", "velocity", "acceleration", "jerk", "effort", "effort_rate"]
Where = Literal["setpoint", "trajectory"]
KINDS: tuple[Kind, ...] = get_args(Kind)

POSITION_TOLERANCE = 1e-6
"""[rad]; trajectories cross the wire in double precision but their times in whole nanoseconds."""
TOLERANCE: dict[Kind, float] = {
    "position": 0.0,
    "velocity": 1e-3,
    "acceleration": 1e-3,
    "jerk": 1e-2,
}
"""Relative excess that is not reported; rounding grows with each difference."""

_TIME_ROUNDING_S = 1e-9
_DERIVATIVES: tuple[Kind, ...] = ("velocity", "acceleration", "jerk")
_FACTORIAL = (1.0, 1.0, 2.0, 6.0)


@dataclass(frozen=True, slots=True)
class Violation:
    """One joint beyond one limit at one instant.

    Attributes:
        kind: Which limit.
        joint: Joint name.
        where: `setpoint` (differences of what the servos got) or `trajectory` (as received).
        time_s: Of the setpoint, or of the start of the segment, on the ROS clock [s].
        value: What was asked for; None if it was not finite.
        limit: What is allowed.
    """

    kind: Kind
    joint: str
    where: Where
    time_s: float
    value: float | None
    limit: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Result of one check: the violations and the worst value/limit ratio per kind."""

    violations: tuple[Violation, ...] = ()
    worst: tuple[tuple[Kind, float], ...] = ()


class SetpointCheck:
    """Differences the stream of setpoints against the limits."""

    def __init__(self, limits: JointLimits, engage_step_rad: float = 0.01) -> None:
        """Check against `limits`, whose position range is the joints' own.

        Args:
            limits: Limits in joint order.
            engage_step_rad: How far the first command after `begin` may lie from the held
                position, because the sender knows it only as measured [rad].
        """
        self._limits = limits
        self._engage_step_rad = engage_step_rad
        self._times: deque[int] = deque(maxlen=4)
        self._positions: deque[FloatArray] = deque(maxlen=4)
        self._engaged = False

    def begin(self, position: FloatArray, stamp_ns: StampNs) -> None:
        """Start over with an arm that holds `position` (J,) [rad], however it came there."""
        self._times.clear()
        self._positions.clear()
        self._engaged = False
        for k in range(3, 0, -1):
            self._append(int(stamp_ns) - k * NS_PER_S // 100, np.array(position))

    def check(self, setpoint: FloatArray, stamp_ns: StampNs) -> Findings:
        """Judge the next setpoint (J,) [rad], which the servos get at `stamp_ns`."""
        if not np.all(np.isfinite(setpoint)):
            bad = [self._limits.names[i] for i in np.flatnonzero(~np.isfinite(setpoint))]
            time_s = seconds(stamp_ns)
            return Findings(
                tuple(Violation("position", n, "setpoint", time_s, None, np.inf) for n in bad)
            )
        if self._times and stamp_ns <= self._times[-1]:
            self.begin(self._positions[-1], stamp_ns)
        moved = bool(self._positions) and bool(np.any(setpoint != self._positions[-1]))
        step = float(np.max(np.abs(setpoint - self._positions[-1]))) if moved else 0.0
        self._append(int(stamp_ns), np.array(setpoint))
        findings = self._judge(stamp_ns)
        if moved and not self._engaged:
            self._engaged = True
            if findings.violations and step <= self._engage_step_rad:
                self._times.clear()
                self._positions.clear()
                self._append(int(stamp_ns), np.array(setpoint))
                return self._judge(stamp_ns)
        return findings

    def _append(self, time_ns: int, position: FloatArray) -> None:
        self._times.append(time_ns)
        self._positions.append(position)

    def _judge(self, stamp_ns: StampNs) -> Findings:
        limits, time_s = self._limits, seconds(stamp_ns)
        found, ratio = _outside(self._positions[-1], limits, "setpoint", time_s)
        worst: list[tuple[Kind, float]] = [("position", ratio)]
        times = np.array([t - self._times[0] for t in self._times]) / NS_PER_S
        table = np.array(self._positions)
        # Divided differences of growing order; the newest of each order is the last row.
        for order, kind in enumerate(_DERIVATIVES[: len(table) - 1], start=1):
            table = (table[1:] - table[:-1]) / (times[order:] - times[:-order])[:, None]
            value = _FACTORIAL[order] * np.abs(table[-1])
            more, ratio = _beyond(kind, "setpoint", limits, value, time_s)
            found += more
            worst.append((kind, ratio))
        return Findings(tuple(found), tuple(worst))


def check_trajectory(timeline: Timeline[StampNs], limits: JointLimits) -> Findings:
    """Judge a whole trajectory by its polynomials.

    A polynomial stays within its Bernstein coefficients (convex hull property, Farin, Curves and
    Surfaces for CAGD, section 4.3). Only where these leave a limit are the exact extremes looked
    for; elsewhere the worst ratio is that at the knots.

    The limit is widened by what rounding the knot times to whole nanoseconds can do to a segment
    as short as this one (the derivatives of a quintic through a displaced end).
    """
    starts = seconds(timeline.start_ns) + timeline.times_s
    if len(starts) < 2:
        found, ratio = _outside(timeline.positions[0], limits, "trajectory", float(starts[0]))
        return Findings(tuple(found), (("position", ratio),))
    spans = np.diff(timeline.times_s)[:, None]
    hull = _bernstein(timeline, spans)
    found, ratio = _range_violations(hull, limits, starts)
    worst: list[tuple[Kind, float]] = [("position", ratio)]
    slack = _rounding(limits, spans)
    peaks = None
    for degree, kind in zip((5, 4, 3), _DERIVATIVES, strict=True):
        hull = degree * np.diff(hull, axis=0) / spans
        bound: FloatArray = getattr(limits, kind) * (1.0 + TOLERANCE[kind]) + slack[kind]
        if np.all(np.abs(hull) <= bound):
            value = np.abs(hull[[0, -1]]).max(axis=0)
        else:
            peaks = peaks or timeline.segment_peaks()
            value = getattr(peaks, kind)
        excess = value - slack[kind]
        at = np.argmax(excess, axis=0)
        largest = excess[at, np.arange(excess.shape[1])]
        more, ratio = _beyond(kind, "trajectory", limits, largest, starts[at])
        found += more
        worst.append((kind, ratio))
    return Findings(tuple(found), tuple(worst))


def _bernstein(timeline: Timeline[StampNs], spans: FloatArray) -> FloatArray:
    """Bernstein coefficients of the positions, shape (6, K-1, J)."""
    p, v, a = timeline.positions, timeline.velocities, timeline.accelerations
    powers = quintic_coefficients(
        JointPoint(p[:-1], v[:-1], a[:-1]), JointPoint(p[1:], v[1:], a[1:]), spans
    )
    unit = powers * spans ** np.arange(6)[:, None, None]
    return np.tensordot(_BERNSTEIN, unit, axes=1)


def _rounding(limits: JointLimits, spans: FloatArray) -> dict[Kind, FloatArray]:
    """What a nanosecond's displacement of an end does to each derivative, each (K-1, J)."""
    moved = limits.velocity * _TIME_ROUNDING_S / spans
    turned = limits.acceleration * _TIME_ROUNDING_S / spans
    return {
        "velocity": 2.0 * moved,
        "acceleration": 6.0 * moved / spans + 4.0 * turned,
        "jerk": 60.0 * moved / spans**2 + 36.0 * turned / spans,
    }


def _beyond(
    kind: Kind, where: Where, limits: JointLimits, value: FloatArray, time_s: float | FloatArray
) -> tuple[list[Violation], float]:
    """Violations of a symmetric limit by `value` (J,), and the worst value/limit."""
    bound: FloatArray = getattr(limits, kind)
    ratio = value / bound
    worst = float(ratio.max())
    if worst <= 1.0 + TOLERANCE[kind]:
        return [], worst
    times = np.broadcast_to(time_s, value.shape)
    found = [
        Violation(kind, limits.names[i], where, float(times[i]), float(value[i]), float(bound[i]))
        for i in np.flatnonzero(ratio > 1.0 + TOLERANCE[kind])
    ]
    return found, worst


def _outside(
    position: FloatArray, limits: JointLimits, where: Where, time_s: float
) -> tuple[list[Violation], float]:
    """Violations of the range by a position (J,), and how near its end it is (1: at the end)."""
    half = 0.5 * (limits.upper - limits.lower)
    away = np.abs(position - limits.lower - half)
    worst = float((away / half).max())
    if worst <= 1.0:
        return [], worst
    bound = np.where(position < limits.lower, limits.lower, limits.upper)
    found = [
        Violation("position", limits.names[i], where, time_s, float(position[i]), float(bound[i]))
        for i in np.flatnonzero(away > half + POSITION_TOLERANCE)
    ]
    return found, worst


def _range_violations(
    hull: FloatArray, limits: JointLimits, starts_s: FloatArray
) -> tuple[list[Violation], float]:
    """Position extremes outside the range, and the worst ratio."""
    low = hull.min(axis=0) < limits.lower - POSITION_TOLERANCE
    high = hull.max(axis=0) > limits.upper + POSITION_TOLERANCE
    found: list[Violation] = []
    middle = 0.5 * (limits.lower + limits.upper)
    ends = hull[[0, -1]].reshape(-1, len(middle))
    _, worst = _outside(
        middle + np.abs(ends - middle).max(axis=0), limits, "trajectory", float(starts_s[0])
    )
    for segment, joint in np.argwhere(low | high):
        for value in _extremes(hull[:, segment, joint]):
            position = middle.copy()
            position[joint] = value
            more, ratio = _outside(position, limits, "trajectory", float(starts_s[segment]))
            found += more
            worst = max(worst, ratio)
    return found, worst


def _extremes(bernstein: FloatArray) -> FloatArray:
    """Lowest and highest value on [0, 1] of the polynomial with these coefficients (6,)."""
    curve = np.polynomial.Polynomial(np.linalg.solve(_BERNSTEIN, bernstein))
    roots = np.asarray(curve.deriv().roots(), dtype=np.complex128)
    inner = np.clip(roots.real[np.abs(roots.imag) < 1e-9], 0.0, 1.0)
    values = curve(np.concatenate([[0.0, 1.0], inner]))
    return np.array([values.min(), values.max()])


_BERNSTEIN = np.array(
    [[comb(k, i) / comb(5, i) if i <= k else 0.0 for i in range(6)] for k in range(6)]
)

# SPDX-License-Identifier: Apache-2.0
"""From one motion to another: the share of the second grows from 0 to 1 over a window.

Both motions go on meanwhile, so what is commanded lies between them at every moment, however
different their velocities are. Fading the difference of two *states* out instead would carry its
velocity on and move the arm away from both by up to 0.16 times that velocity and the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import ClockNs, JointPoint, Timeline
from levine_policy_node.core.units import NS_PER_S, FloatArray

# Knots of the old motion closer than this share of the new one's are left out: the mixture is
# smooth there.
_CLOSE = 0.2
CLOSEST_S = 5e-4
"""No two knots of an overlay are nearer to each other than this [s]."""

_BRAKE_S = 0.4
# Near the end of a joint's range there is less time, for a joint that moves at all [rad/s].
_SHORTEST_BRAKE_S = 0.02
_SLOWEST = 1e-3
_HOLD_S = 10.0


@dataclass(frozen=True, slots=True)
class Overlay:
    """Two motions at the same knots.

    Attributes:
        at_s: Times after the first knot of `new` (K,) [s].
        own: Mask (K,) of the times that are knots of `new`; the last one is.
        old: What was being done, each (K, J).
        new: What follows, each (K, J).
        window_s: Longest window they are good for [s].
    """

    at_s: FloatArray
    own: np.ndarray
    old: JointPoint
    new: JointPoint
    window_s: float

    def mixed(self, windows_s: FloatArray) -> tuple[FloatArray, JointPoint]:
        """The way from one to the other, until all windows are over.

        The share of `new` is the quintic from 0 to 1 without velocity and acceleration at its
        ends.

        Args:
            windows_s: Length of each joint's window (J,) [s].

        Returns:
            Times (K',) [s] and the mixture there, each (K', J). At the last one it is `new`.
        """
        ends = self.own & (self.at_s >= windows_s.max())
        count = int(np.argmax(ends)) + 1 if ends.any() else len(self.at_s)
        at_s, old, new = self.at_s[:count], _first(self.old, count), _first(self.new, count)
        u = np.minimum(at_s[:, None] / windows_s, 1.0)
        rest = 1.0 - u
        share = u**3 * (10.0 + u * (6.0 * u - 15.0))
        slope = 30.0 * (u * rest) ** 2 / windows_s
        bend = 60.0 * u * rest * (rest - u) / windows_s**2
        gap, drift, kept = new.position - old.position, new.velocity - old.velocity, 1.0 - share
        return at_s, JointPoint(
            kept * old.position + share * new.position,
            kept * old.velocity + share * new.velocity + slope * gap,
            kept * old.acceleration + share * new.acceleration + 2.0 * slope * drift + bend * gap,
        )

    def range(self, joints: np.ndarray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest position of either motion, for a mask of joints (J,)."""
        h = (self.at_s[1:] - self.at_s[:-1])[:, None]
        low, high = np.inf, -np.inf
        for point in (self.old, self.new):
            p, v, a = point.position[:, joints], point.velocity[:, joints], point.acceleration
            near, far = 0.2 * h, 0.05 * h * h
            a = a[:, joints]
            # The Bezier points of each quintic.
            hull = np.concatenate(
                [
                    p,
                    p[:-1] + near * v[:-1],
                    p[:-1] + 2.0 * near * v[:-1] + far * a[:-1],
                    p[1:] - near * v[1:],
                    p[1:] - 2.0 * near * v[1:] + far * a[1:],
                ]
            )
            low, high = np.minimum(low, hull.min(axis=0)), np.maximum(high, hull.max(axis=0))
        return low, high


def overlay(
    old: Timeline[ClockNs], new: Timeline[ClockNs], window_s: float, limits: JointLimits
) -> Overlay:
    """Both motions at the knots of both, from the first knot of `new` until the window is over.

    Args:
        old: Covers the first knot of `new`; if it ends within the window, it comes to rest then.
        new: What follows.
        window_s: Length of the window [s].
        limits: Of which the range is where to come to rest.
    """
    last = max(1, min(int(new.times_s.searchsorted(window_s)), len(new.times_s) - 1))
    own = new.times_s[: last + 1]
    begin_s = (int(new.start_ns) - int(old.start_ns)) / NS_PER_S
    if old.duration_s < begin_s + float(own[-1]):
        old = coming_to_rest(old, limits)
    others = old.times_s - begin_s
    # What goes on as it was needs all its knots for that.
    gap_s = _CLOSE * float(own[-1]) / last if np.isfinite(window_s) else CLOSEST_S
    after = own.searchsorted(others)
    inside = (after > 0) & (after <= last)
    others, after = others[inside], after[inside]
    kept: list[float] = []
    clear = (others - own[after - 1] > gap_s) & (own[after] - others > gap_s)
    for time_s in others[clear].tolist():
        if not kept or time_s - kept[-1] > gap_s:
            kept.append(time_s)
    at_s = np.concatenate([own, kept])
    order = np.argsort(at_s)
    at_s = at_s[order]
    both = old.sample_each(at_s + begin_s), new.sample_each(at_s)
    return Overlay(at_s, order <= last, *both, window_s)


def _first(point: JointPoint, count: int) -> JointPoint:
    return JointPoint(point.position[:count], point.velocity[:count], point.acceleration[:count])


def coming_to_rest(motion: Timeline[ClockNs], limits: JointLimits) -> Timeline[ClockNs]:
    """The motion, and after its end a way to rest inside the joint range, where it stays."""
    p, v, a = motion.positions[-1], motion.velocities[-1], motion.accelerations[-1]
    room = (limits.upper - p) * (v > 0.0) + (p - limits.lower) * (v <= 0.0)
    brake_s = min(_BRAKE_S, float((room / np.maximum(np.abs(v), _SLOWEST)).min()))
    brake_s = max(brake_s, _SHORTEST_BRAKE_S)
    # The position at which a quintic to rest has no more to do than to lose v and a.
    rest = p + brake_s * (v / 2.0 + brake_s * a / 12.0)
    rest = np.clip(rest, limits.lower, limits.upper)
    still = np.zeros((2, len(rest)))
    return Timeline(
        motion.joint_names,
        motion.start_ns,
        np.append(motion.times_s, motion.times_s[-1] + [brake_s, _HOLD_S]),
        np.vstack([motion.positions, rest, rest]),
        np.vstack([motion.velocities, still]),
        np.vstack([motion.accelerations, still]),
        motion.source,
    )

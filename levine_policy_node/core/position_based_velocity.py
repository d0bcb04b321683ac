# SPDX-License-Identifier: Apache-2.0
"""Velocity limits that depend on the position: less near the ends of a joint's range.

v+(q) = max(0, -o + sqrt(max(0, 2 d (q+ - q)))) towards the upper end q+, and the mirror image
towards the lower one; at most the joint's constant limit. That is what libfranka 0.21.2 computes
in `computeUpperLimitsJointVelocity` and `computeLowerLimitsJointVelocity` (rate_limiting.h), where
2 d is one number, and in `joint_velocity_limits.h`, where o is called `velocity_offset` and d
`deceleration_limit`.

A joint that brakes is not judged. The limit falls as the joint goes on, and its curve may be
steeper than that of any brake; were a brake refused for that, the arm would go on at its speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from levine_policy_node.core.bezier import elevated, squared
from levine_policy_node.core.units import FloatArray

BRAKING_SHARE = 0.45
"""Share of the acceleration or of the jerk limit with which a joint brakes, at least.

Stops use half of the limits or more (`core/shaper.py`), of which the grid takes a little.
"""

# Rounding of a velocity over a span h is as much as this over h; see `core/limits.py`.
_ROUNDING = 1e-14
_RELATIVE_TOLERANCE = 1e-9
_SMALL = 1e-6


class Pieces(NamedTuple):
    """Control points of pieces of a motion, each (S, ..., N, J).

    Positions [rad], and h v, h^2 a and h^3 j with the time h of the N segments.
    """

    position: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PositionBasedVelocity:
    """Velocity limits of joints by their position; all arrays (J,).

    Attributes:
        offset: o [rad/s].
        deceleration: d [rad/s^2].
        lower: q- [rad]; minus infinity for a joint that has no such limit.
        upper: q+ [rad]; infinity for a joint that has no such limit.
    """

    offset: FloatArray
    deceleration: FloatArray
    lower: FloatArray
    upper: FloatArray

    def scaled(self, factor: float) -> PositionBasedVelocity:
        """The same limits times `factor`, at every position."""
        return PositionBasedVelocity(
            self.offset * factor, self.deceleration * factor**2, self.lower, self.upper
        )

    def upwards(self, position: FloatArray) -> FloatArray:
        """Largest velocity (..., J) [rad/s] at a position (..., J) [rad]; may be infinite."""
        return self._towards(self.upper - position)

    def downwards(self, position: FloatArray) -> FloatArray:
        """Largest speed of a negative velocity (..., J) [rad/s] at a position (..., J) [rad]."""
        return self._towards(position - self.lower)

    def arriving(self, begin: FloatArray, end: FloatArray, velocity: FloatArray) -> FloatArray:
        """Deceleration (J,) [rad/s^2] with which a joint arrives within these limits.

        With the deceleration a it has the speed sqrt(v^2 + 2 a s) at s before the end, of which
        limits allow -o + sqrt(2 d (s + m)), where m is how far the end is from q+. That is the
        larger one at every s if a <= d (1 - (o + v)^2 / (2 d m)), or if a <= d v / (o + v).

        Args:
            begin: Where the joints come from (J,) [rad].
            end: Where they arrive (J,) [rad].
            velocity: With which they arrive (J,) [rad/s].
        """
        up = end > begin
        room = np.maximum(np.where(up, self.upper - end, end - self.lower), _SMALL)
        fast = np.maximum(np.where(up, velocity, -velocity), 0.0)
        over = self.offset + fast
        share = 1.0 - over**2 / (2.0 * self.deceleration * room)
        share = np.maximum(share, fast / np.maximum(over, _SMALL))
        return np.where(np.isinf(room), np.inf, self.deceleration * np.maximum(share, _SMALL))

    def _towards(self, room: FloatArray) -> FloatArray:
        reached = np.sqrt(np.maximum(2.0 * self.deceleration * room, 0.0))
        return np.maximum(reached - self.offset, 0.0)

    def calm(self, centre: FloatArray, velocity: FloatArray) -> FloatArray:
        """How far from `centre` (J,) [rad] a joint is allowed `velocity` (J,) [rad/s]."""
        room = np.minimum(self.upper - centre, centre - self.lower)
        return room - (velocity + self.offset) ** 2 / (2.0 * self.deceleration)

    def shares(
        self, pieces: Pieces, spans_s: FloatArray, acceleration: FloatArray, jerk: FloatArray
    ) -> FloatArray:
        """How much of its limit each joint takes in each piece of a motion, at most.

        The fastest velocity of the piece is compared with what is allowed at its farthest
        position. Where that is too much, 2 d (q+ - q) - (o + v)^2 is looked at, which is a
        polynomial too. So no excess is missed, and the shorter the piece, the less is found that
        is none.

        Args:
            pieces: Control points of each piece.
            spans_s: The time h that derivatives are scaled with, (N,) [s].
            acceleration: Limit (J,) [rad/s^2].
            jerk: Limit (J,) [rad/s^3].

        Returns:
            Shares (..., N, J). Above 1 is an excess, of which a joint that brakes has none.
        """
        h = spans_s[:, None]
        hard = BRAKING_SHARE * acceleration * h**2, BRAKING_SHARE * jerk * h**3
        up = self._upward_shares(pieces, h, hard)
        mirrored = PositionBasedVelocity(self.offset, self.deceleration, -self.upper, -self.lower)
        down = mirrored._upward_shares(Pieces(*(-points for points in pieces)), h, hard)
        return np.maximum(up, down)

    def _upward_shares(
        self, pieces: Pieces, h: FloatArray, hard: tuple[FloatArray, FloatArray]
    ) -> FloatArray:
        speed = np.maximum(pieces.velocity.max(axis=0) / h, 0.0)
        allowed = self.upwards(pieces.position.max(axis=0))
        shares = speed / (allowed * (1.0 + _RELATIVE_TOLERANCE) + _ROUNDING / h)
        fast = shares > 1.0
        if not fast.any():
            return shares
        braking = (pieces.acceleration.max(axis=0) <= -hard[0]) | (
            pieces.jerk.max(axis=0) <= -hard[1]
        )
        shares[braking] = 0.0
        fast &= ~braking
        shares[fast] = np.where(self._inside(pieces, h, fast), 1.0, shares[fast])
        return shares

    def _inside(self, pieces: Pieces, h: FloatArray, chosen: np.ndarray) -> np.ndarray:
        """Which of the chosen pieces (..., N, J) are within the limits by their polynomials."""
        of = [
            np.broadcast_to(x, chosen.shape)[chosen]
            for x in (h, self.offset, self.deceleration, self.upper)
        ]
        speed, offset, deceleration, upper = pieces.velocity[:, chosen] / of[0], *of[1:]
        over = squared(speed * (1.0 - _RELATIVE_TOLERANCE) + offset)
        room = upper - elevated(pieces.position[:, chosen])
        return np.asarray((over <= 2.0 * deceleration * room).all(axis=0))

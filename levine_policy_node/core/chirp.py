# SPDX-License-Identifier: Apache-2.0
"""A small motion with many frequencies, to measure delays with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import FloatArray

# Half of the speed limit leaves the supervisor room to follow; the rest is for its corrections.
_SPEED_SHARE = 0.5
_SMALLEST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Chirp:
    """An oscillation about 0 whose frequency rises evenly; it begins and ends at rest at 0.

    Attributes:
        amplitude: Largest offset, in the joint's unit [rad].
        duration_s: From rest to rest [s].
        low_hz: First frequency [Hz].
        high_hz: Last frequency [Hz].
        ramp_s: Length of the fade at either end [s].
    """

    amplitude: float = 0.08
    duration_s: float = 8.0
    low_hz: float = 0.3
    high_hz: float = 1.5
    ramp_s: float = 0.8

    def offset(self, time_s: float) -> float:
        """Offset at `time_s` after the start; 0 outside of the chirp."""
        if not 0.0 < time_s < self.duration_s:
            return 0.0
        edge_s = min(time_s, self.duration_s - time_s, self.ramp_s)
        fade = 0.5 - 0.5 * math.cos(math.pi * edge_s / self.ramp_s)
        rise_hz = (self.high_hz - self.low_hz) * time_s / (2.0 * self.duration_s)
        return self.amplitude * fade * math.sin(2.0 * math.pi * (self.low_hz + rise_hz) * time_s)


def fitting_amplitude(
    wanted: Chirp, position: FloatArray, limits: JointLimits, joint: int
) -> float | None:
    """The largest amplitude up to the wanted one that one joint has room and speed for.

    Args:
        wanted: The chirp as it should be.
        position: Pose it begins and ends at, shape (J,) [rad].
        limits: Of all joints.
        joint: Index of the joint that is to move.

    Returns:
        An amplitude [rad], or None if too little is left to measure anything with.
    """
    amplitude = min(
        wanted.amplitude,
        float(position[joint] - limits.lower[joint]),
        float(limits.upper[joint] - position[joint]),
        _SPEED_SHARE * float(limits.velocity[joint]) / (2.0 * math.pi * wanted.high_hz),
    )
    return amplitude if amplitude >= _SMALLEST_SHARE * wanted.amplitude else None

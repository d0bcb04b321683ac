# SPDX-License-Identifier: Apache-2.0
"""What `levine bench swap` found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(slots=True)
class SwapFigures:
    """What a run measured.

    Attributes:
        swaps: Swaps that were made.
        in_motion: How many of them while the arm moved.
        failed: Swaps that were asked for and not made.
        missed_ticks: Ticks of the supervisor that came too late while policies were swapped or
            offered.
        limit_violations: Of the commands, as the simulated arm counted them.
        first_violations: The first of them.
        calm: Swaps during which nothing was held up: neither a core of the machine nor the
            simulated arm. What is counted above is of the seconds in which nothing was.
        calm_in_motion: How many of them while the arm moved.
        held_up_share: Share of the seconds in which something was held up. What follows is of
            these:
        missed_ticks_held_up: Ticks that came too late.
        limit_violations_held_up: Violations.
        stops_held_up: Why a watchdog stopped the arm.
        gap_ms_max: Longest time between two commands while there were any [ms].
        took_s: From request to outcome of each swap [s].
        refused: Bad bundles that were refused.
        wrongly_accepted: Bad bundles that took over.
        refused_kinds: Refusals by kind.
        accepted_kinds: Of those that were not refused.
        stops: Why a watchdog stopped the arm, each time that nothing was held up.
        memory_mb: Of the runtime after each swap [MB].
        policies_max: Most policies that were in memory after a swap.
    """

    swaps: int = 0
    in_motion: int = 0
    failed: int = 0
    missed_ticks: int = 0
    limit_violations: int = 0
    first_violations: list[dict[str, Any]] = field(default_factory=list)
    calm: int = 0
    calm_in_motion: int = 0
    held_up_share: float = 0.0
    missed_ticks_held_up: int = 0
    limit_violations_held_up: int = 0
    stops_held_up: list[str] = field(default_factory=list)
    gap_ms_max: float = 0.0
    took_s: list[float] = field(default_factory=list)
    refused: int = 0
    wrongly_accepted: int = 0
    refused_kinds: Counter[str] = field(default_factory=Counter)
    accepted_kinds: Counter[str] = field(default_factory=Counter)
    stops: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    policies_max: int = 0

    def results(self) -> dict[str, Any]:
        """Machine-readable results."""
        return {
            "swaps": self.swaps,
            "in_motion": self.in_motion,
            "failed": self.failed,
            "missed_ticks": self.missed_ticks,
            "limit_violations": self.limit_violations,
            "first_violations": self.first_violations,
            "calm": self.calm,
            "calm_in_motion": self.calm_in_motion,
            "held_up_share": round(self.held_up_share, 3),
            "missed_ticks_held_up": self.missed_ticks_held_up,
            "limit_violations_held_up": self.limit_violations_held_up,
            "stops_held_up": self.stops_held_up,
            "gap_ms_max": round(self.gap_ms_max, 3),
            "swap_s_p50": round(float(np.median(self.took_s)), 3) if self.took_s else None,
            "swap_s_max": round(max(self.took_s), 3) if self.took_s else None,
            "refused": self.refused,
            "wrongly_accepted": self.wrongly_accepted,
            "refused_kinds": dict(self.refused_kinds),
            "wrongly_accepted_kinds": dict(self.accepted_kinds),
            "stops": self.stops,
            "memory_mb_first": self.memory_mb[0] if self.memory_mb else None,
            "memory_mb_last": self.memory_mb[-1] if self.memory_mb else None,
            "memory_mb_max": max(self.memory_mb, default=None),
            "policies_max": self.policies_max,
        }

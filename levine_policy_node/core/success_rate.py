# SPDX-License-Identifier: Apache-2.0
"""Outcomes of episodes, and how sure a success rate is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """Outcome of one episode.

    Attributes:
        seed: Scene of the simulation.
        success: Whether the task was done within the horizon.
        duration_s: Simulated time from engage to the end [s].
        ended_by: "success", "failure" (the scene cannot be recovered), "time" or the mode that
            the supervisor went to.
        stops: Why the supervisor stopped the arm meanwhile, in order; the operator resumed.
    """

    seed: int
    success: bool
    duration_s: float
    ended_by: str
    stops: tuple[str, ...] = ()


def summarise(episodes: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Counts, Wilson interval and the episodes that failed, ready for JSON.

    Raises:
        ValueError: If there is no episode.
    """
    successes = sum(e.success for e in episodes)
    low, high = wilson_interval(successes, len(episodes))
    return {
        "episodes": len(episodes),
        "successes": successes,
        "wilson95": [round(low, 4), round(high, 4)],
        "failures": [{"seed": e.seed, "ended_by": e.ended_by} for e in episodes if not e.success],
        "stops": [{"seed": e.seed, "cause": cause} for e in episodes for cause in e.stops],
        "duration_s_mean": round(sum(e.duration_s for e in episodes) / len(episodes), 3),
    }


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate.

    Source: Wilson (1927), Journal of the American Statistical Association 22, 209-212.

    Raises:
        ValueError: If `trials` is not positive or `successes` is not in [0, trials].
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"need 0 <= successes <= trials and trials > 0, got {successes}/{trials}")
    rate, z2 = successes / trials, _Z95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)

# SPDX-License-Identifier: Apache-2.0
"""A number of successes, and how sure the rate is."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.core.success_rate import wilson_interval


@dataclass(frozen=True, slots=True)
class Score:
    """Successes among episodes."""

    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """Share of successes, 0 to 1."""
        return self.successes / self.episodes

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval, 0 to 1."""
        return wilson_interval(self.successes, self.episodes)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.successes}/{self.episodes} [{100 * low:.0f}-{100 * high:.0f} %]"

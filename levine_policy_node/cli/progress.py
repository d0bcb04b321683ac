# SPDX-License-Identifier: Apache-2.0
"""One line per finished episode."""

from __future__ import annotations

from levine_policy_node.core.success_rate import EpisodeResult


class EpisodeProgress:
    """Prints how each episode ended; call it with (index, result)."""

    def __init__(self, total: int) -> None:
        self._total = total

    def __call__(self, index: int, result: EpisodeResult) -> None:
        """Print the line of one episode."""
        verdict = "success" if result.success else f"failed ({result.ended_by})"
        for cause in result.stops:
            print(f"  stopped and resumed: {cause}")
        print(
            f"[{index + 1}/{self._total}] seed {result.seed}: "
            f"{verdict} in {result.duration_s:.1f} s",
            flush=True,
        )

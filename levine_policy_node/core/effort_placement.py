# SPDX-License-Identifier: Apache-2.0
"""Places the efforts of each new chunk, in place of those before.

Nothing is averaged, faded or smoothed: an effort answers the state it was computed from, and the
mean of two answers answers neither. The supervisor bounds how fast the effort may change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.effort_timeline import EffortTimeline, pushing, still_due
from levine_policy_node.core.placement import PlacementCounts
from levine_policy_node.core.units import StampNs


@dataclass(frozen=True, slots=True)
class PlacedEfforts:
    """Efforts ready to publish, and how many rows had passed."""

    timeline: EffortTimeline[StampNs]
    dropped_rows: int


class EffortPlacer:
    """What `ChunkPlacer` is for positions.

    Args:
        actuation_delay_s: How much earlier than its time a row is sent [s].
    """

    rtc_problem: tuple[str, str] | None = None

    def __init__(self, actuation_delay_s: float = 0.0) -> None:
        self.counts = PlacementCounts()
        self._early_s = actuation_delay_s
        self._playing: EffortTimeline[StampNs] | None = None
        self._starving = False

    def reset(self) -> None:
        """Forget what was placed: the arm no longer follows it."""
        self._playing = None
        self._starving = False

    def continue_from(self, other: EffortPlacer) -> None:
        """Go on with what is being played and counted."""
        self.counts = other.counts
        self._playing = other._playing
        self._starving = other._starving

    def figures(self) -> dict[str, float]:
        """All counts, as diagnostics and reports call them."""
        return {
            "chunks": self.counts.chunks,
            "late_chunks": self.counts.late,
            "dropped_rows": self.counts.dropped_rows,
            "starved": self.counts.starved,
        }

    def prefix(self, observed_ns: StampNs) -> None:
        """Nothing: efforts do not say where the arm will be."""
        del observed_ns

    def place(
        self, chunk: ActionChunk, now_ns: StampNs, *, playing: bool, standing: bool = False
    ) -> PlacedEfforts | None:
        """Place a chunk.

        Args:
            chunk: Of the newest inference, with efforts.
            now_ns: Present time.
            playing: Whether the arm follows what was placed before.
            standing: Whether the arm stands and waits for a policy: then what was observed still
                holds, and the chunk begins now.

        Returns:
            What to publish, or None if every row has passed.
        """
        if standing:
            chunk = replace(chunk, observed_ns=StampNs(max(chunk.observed_ns, now_ns)))
        line = still_due(pushing(chunk, self._early_s), now_ns)
        if line is None:
            self.counts.late += 1
            self.counts.dropped_rows += len(chunk.positions)
            return None
        dropped = len(chunk.positions) + 1 - len(line.times_s)
        self._playing = line if playing else None
        self._starving = False
        self.counts.chunks += 1
        self.counts.dropped_rows += dropped
        return PlacedEfforts(line, dropped)

    @property
    def ends_ns(self) -> int | None:
        """When the efforts being played end, on the ROS clock; None if none are."""
        return None if self._playing is None else self._playing.end_ns

    def starves(self, now_ns: StampNs) -> bool:
        """Whether the efforts being played have just ended; True once per time."""
        if self._playing is None or now_ns < self._playing.end_ns or self._starving:
            return False
        self._starving = True
        self.counts.starved += 1
        return True

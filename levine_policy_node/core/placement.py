# SPDX-License-Identifier: Apache-2.0
"""Keeps the timeline a policy is playing, and merges each new chunk into it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.ensemble import ensembled
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import Merged, MergeOptions, merge_chunk
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs

_LIMIT_SHARE = 0.98


@dataclass(slots=True)
class PlacementCounts:
    """What happened to the chunks.

    Attributes:
        chunks: Chunks that became a timeline.
        late: Chunks whose every row had passed.
        dropped_rows: Rows whose time had passed.
        stretch_max: Most a chunk was slowed to fit the limits.
        starved: Times the arm ran out of timeline while the policy had it.
    """

    chunks: int = 0
    late: int = 0
    dropped_rows: int = 0
    stretch_max: float = 1.0
    starved: int = 0


class ChunkPlacer:
    """The seam between one chunk and the next.

    A chunk continues the previous timeline only while the arm follows it. In every other mode the
    timeline starts afresh at the present, so that engaging never replays something old.
    """

    def __init__(self, limits: JointLimits, options: MergeOptions) -> None:
        self.counts = PlacementCounts()
        # The supervisor refuses what is beyond the limits by rounding, too.
        self._limits = limits.scaled(_LIMIT_SHARE)
        self._options = options
        self._previous: Timeline[StampNs] | None = None
        self._recent: tuple[ActionChunk, ...] = ()
        self._starving = False

    def reset(self) -> None:
        """Forget the previous timeline: the arm no longer follows it."""
        self._previous = None
        self._recent = ()
        self._starving = False

    def place(self, chunk: ActionChunk, now_ns: StampNs, *, playing: bool) -> Merged | None:
        """Merge a chunk; `playing` says that the arm follows the previous timeline.

        Returns:
            The timeline to publish, or None if every row of the chunk has passed.
        """
        previous = self._previous if playing else None
        inside = np.clip(chunk.positions, self._limits.lower, self._limits.upper)
        chunk = replace(chunk, positions=inside)
        if self._options.rule == "ensemble":
            chunk = self._averaged(chunk, now_ns, playing=playing)
        merged = merge_chunk(previous, chunk, now_ns, self._limits, self._options)
        if merged is None:
            self.counts.late += 1
            self.counts.dropped_rows += len(chunk.positions)
            return None
        self._previous = merged.timeline if playing else None
        self._starving = False
        self.counts.chunks += 1
        self.counts.dropped_rows += merged.dropped_rows
        self.counts.stretch_max = max(self.counts.stretch_max, merged.stretch)
        return merged

    def _averaged(self, chunk: ActionChunk, now_ns: StampNs, *, playing: bool) -> ActionChunk:
        """The chunk averaged with those before it that still say something about the future."""
        still = [c for c in self._recent if playing and c.row_stamp(len(c.positions) - 1) > now_ns]
        self._recent = (*still, chunk)
        discrete = self._options.is_discrete(chunk.joint_names)
        return ensembled(self._recent, self._options.ensemble_k, discrete)

    def starves(self, now_ns: StampNs) -> bool:
        """Whether the timeline being played has just ended; True once per time."""
        if self._previous is None or now_ns <= self._previous.end_ns or self._starving:
            return False
        self._starving = True
        self.counts.starved += 1
        return True

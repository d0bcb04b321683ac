# SPDX-License-Identifier: Apache-2.0
"""Keeps the timeline a policy is playing, and merges each new chunk into it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import (
    ActionPrefix,
    PrefixCounts,
    Prefixes,
    PrefixOptions,
)
from levine_policy_node.core.ensemble import ensembled
from levine_policy_node.core.integration import anchored
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import Merged, MergeOptions, merge_chunk
from levine_policy_node.core.statistics import RollingPercentiles
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, nanoseconds

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

    Args:
        limits: What the arm may be asked to do.
        options: How a chunk joins what is being played.
        prefix: What a policy is told of it, with the rule `rtc`; None for a policy that is told
            nothing.
    """

    def __init__(
        self, limits: JointLimits, options: MergeOptions, prefix: PrefixOptions | None = None
    ) -> None:
        self.counts = PlacementCounts()
        self._prefixes = None if prefix is None else Prefixes(prefix)
        # The supervisor refuses what is beyond the limits by rounding, too.
        self._limits = limits.scaled(_LIMIT_SHARE)
        self._options = options
        self._previous: Timeline[StampNs] | None = None
        self._recent: tuple[ActionChunk, ...] = ()
        self._starving = False
        self._gap = RollingPercentiles()

    def reset(self) -> None:
        """Forget the previous timeline: the arm no longer follows it."""
        self._previous = None
        self._recent = ()
        self._starving = False
        if self._prefixes is not None:
            self._prefixes.reset()

    def continue_from(self, other: ChunkPlacer, now_ns: StampNs) -> None:
        """Go on with what is being played and counted; another policy's chunks get no vote."""
        self.counts = other.counts
        self._gap = other._gap
        self._previous = other._previous
        self._starving = other._starving
        if self._prefixes is not None and self._previous is not None:
            self._prefixes.playing(self._previous, now_ns)

    def figures(self) -> dict[str, float]:
        """All counts, as diagnostics and reports call them."""
        rtc = PrefixCounts() if self._prefixes is None else self._prefixes.counts
        return {
            "chunks": self.counts.chunks,
            "late_chunks": self.counts.late,
            "dropped_rows": self.counts.dropped_rows,
            "stretch_max": round(self.counts.stretch_max, 3),
            "starved": self.counts.starved,
            **{
                f"seam_gap_mrad_p{q}": round(1e3 * self._gap.percentile(q), 3)
                for q in (50, 95)
                if len(self._gap) > 0
            },
            "rtc_chunks": rtc.given,
            "rtc_outside_delay": rtc.outside_delay,
            "rtc_delay_exceeded": rtc.delay_exceeded,
        }

    @property
    def rtc_problem(self) -> tuple[str, str] | None:
        """Kind and text of why chunks are not, or not quite, what real-time chunking makes."""
        return None if self._prefixes is None else self._prefixes.problem

    def prefix(self, observed_ns: StampNs) -> ActionPrefix | None:
        """What to tell the policy with an observation; every earlier chunk must be placed."""
        return None if self._prefixes is None else self._prefixes.prefix(observed_ns)

    def place(
        self, chunk: ActionChunk, now_ns: StampNs, *, playing: bool, standing: bool = False
    ) -> Merged | None:
        """Merge a chunk.

        Args:
            chunk: Of the newest inference.
            now_ns: Present time.
            playing: Whether the arm follows the previous timeline.
            standing: Whether the arm stands still and waits for a policy. What was observed then
                still holds, so no row of the chunk has passed, however long the inference took.

        Returns:
            The timeline to publish, or None if every row of the chunk has passed.
        """
        if not playing:
            self._previous = None
        previous = self._previous
        lead_s, early_s = self._options.lead_s, self._options.actuation_delay_s
        if standing:
            starts_ns = now_ns + nanoseconds(lead_s + early_s)
            chunk = replace(chunk, observed_ns=StampNs(max(chunk.observed_ns, starts_ns)))
        chunk = anchored(chunk, previous, now_ns, lead_s, early_s)
        options = _without_switching(self._options, chunk)
        inside = np.clip(chunk.positions, self._limits.lower, self._limits.upper)
        chunk = replace(chunk, positions=inside)
        if self._options.rule == "ensemble":
            chunk = self._averaged(chunk, now_ns, playing=playing)
        merged = merge_chunk(previous, chunk, now_ns, self._limits, options)
        if merged is None:
            self.counts.late += 1
            self.counts.dropped_rows += len(chunk.positions)
            self._count_consumed(chunk, len(chunk.positions))
            return None
        self._previous = merged.timeline if playing else None
        if not standing:
            self._count_consumed(chunk, merged.dropped_rows)
        if self._prefixes is not None and playing:
            self._prefixes.playing(merged.timeline, now_ns)
        if merged.gap is not None:
            arm = ~options.is_discrete(chunk.joint_names)
            self._gap.add(float(np.max(merged.gap, where=arm, initial=0.0)))
        self._starving = False
        self.counts.chunks += 1
        self.counts.dropped_rows += merged.dropped_rows
        self.counts.stretch_max = max(self.counts.stretch_max, merged.stretch)
        return merged

    def _count_consumed(self, chunk: ActionChunk, rows: int) -> None:
        if self._prefixes is not None:
            self._prefixes.consumed(chunk, rows)

    def _averaged(self, chunk: ActionChunk, now_ns: StampNs, *, playing: bool) -> ActionChunk:
        """The chunk averaged with those before it that still say something about the future."""
        still = [c for c in self._recent if playing and c.row_stamp(len(c.positions) - 1) > now_ns]
        self._recent = (*still, chunk)
        newest_only = self._options.is_discrete(chunk.joint_names)
        if chunk.integrated_from is not None:
            # Their positions say where each chunk was joined, not where the policy wants to be.
            newest_only |= ~np.isnan(chunk.integrated_from)
        return ensembled(self._recent, self._options.ensemble_k, newest_only)

    @property
    def ends_ns(self) -> int | None:
        """When the timeline being played ends, on the ROS clock; None if none is."""
        return None if self._previous is None else self._previous.end_ns

    def starves(self, now_ns: StampNs) -> bool:
        """Whether the timeline being played has just ended; True once per time."""
        if self._previous is None or now_ns <= self._previous.end_ns or self._starving:
            return False
        self._starving = True
        self.counts.starved += 1
        return True


def _without_switching(options: MergeOptions, chunk: ActionChunk) -> MergeOptions:
    """A joint that is given as a velocity moves; it does not switch."""
    if chunk.integrated_from is None:
        return options
    joints = zip(chunk.joint_names, chunk.integrated_from, strict=True)
    moving = {name for name, base in joints if not np.isnan(base)}
    return replace(options, discrete=tuple(n for n in options.discrete if n not in moving))

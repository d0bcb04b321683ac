# SPDX-License-Identifier: Apache-2.0
"""What the arm will do while a policy computes, told to the policy (real-time chunking).

The rows come from the timeline that is being played, so they contain every merge, every
smoothing and every slowing-down, and not from what the policy said before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.consumed_rows import ConsumedRows
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs, nanoseconds

# Rows of a chunk that lie before its observation, and slow cameras, look back this far.
_REMEMBERED_NS = nanoseconds(2.0)


@dataclass(frozen=True, slots=True, eq=False)
class ActionPrefix:
    """Joint targets that are already decided, at the times of a new chunk's rows.

    Attributes:
        rows: Shape (L, J) [rad], L >= 1; row i belongs to the time of row i of the chunk as the
            policy returns it. The arm is on its way along them, further ones may still change.
        delay_rows: How many of them will have been played when the chunk takes effect, 0 to L.
    """

    rows: FloatArray
    delay_rows: int

    def __post_init__(self) -> None:
        if len(self.rows) == 0 or not 0 <= self.delay_rows <= len(self.rows):
            raise ValueError(f"action prefix: {self.delay_rows} of {len(self.rows)} rows")


@dataclass(frozen=True, slots=True)
class PrefixOptions:
    """The chunks a prefix is made for.

    Attributes:
        rows: Rows of a chunk as the policy returns it.
        start: How many of them belong to the time up to the observation.
        dt_s: Time between rows [s].
        actuation_delay_s: How much earlier than its time a row is sent [s].
        max_delay: Largest delay the policy was trained for [rows], or None if there is none.
    """

    rows: int
    start: int
    dt_s: float
    actuation_delay_s: float = 0.0
    max_delay: int | None = None

    def sent_ns(self, observed_ns: StampNs) -> list[StampNs]:
        """When each row of a chunk of this observation is sent, on the ROS clock [ns]."""
        early_ns = nanoseconds(self.actuation_delay_s)
        return [
            StampNs(observed_ns + nanoseconds((row + 1 - self.start) * self.dt_s) - early_ns)
            for row in range(self.rows)
        ]


def rows_to_come(
    played: Sequence[Timeline[StampNs]], times_ns: Sequence[StampNs]
) -> FloatArray | None:
    """What is played at each of the times, as far as it is known.

    Args:
        played: Timelines in the order they took effect; each replaces the one before it from its
            own start on.
        times_ns: Rising times on the ROS clock [ns].

    Returns:
        Positions at the first L times, shape (L, J) [rad]: the rows end where the newest timeline
        ends, for what comes then is not known. None if the first time is not covered.
    """
    rows: list[FloatArray] = []
    done = 0
    while done < len(times_ns):
        found = _playing(played, times_ns[done])
        if found is None:
            break
        line, until_ns = found
        # All times up to the end of this timeline's turn at once.
        last = min(until_ns - 1, line.end_ns)
        count = sum(time_ns <= last for time_ns in times_ns[done:])
        if count == 0:
            break
        rows.append(_positions(line, times_ns[done : done + count]))
        done += count
    return np.concatenate(rows) if rows else None


def _playing(
    played: Sequence[Timeline[StampNs]], time_ns: StampNs
) -> tuple[Timeline[StampNs], int] | None:
    """The timeline that is played at `time_ns`, and when the next one takes over [ns]."""
    until_ns = sys.maxsize
    for line in reversed(played):
        if line.start_ns <= time_ns:
            return line, until_ns
        until_ns = int(line.start_ns)
    return None


def _positions(line: Timeline[StampNs], times_ns: Sequence[StampNs]) -> FloatArray:
    """Where `line` is at instants that it covers, shape (L, J) [rad]."""
    offsets_s = (np.array(times_ns, dtype=np.int64) - int(line.start_ns)) / NS_PER_S
    return line.sample_each(np.minimum(offsets_s, line.duration_s)).position


@dataclass(slots=True)
class PrefixCounts:
    """What became of the prefixes.

    Attributes:
        given: Inferences that were told what will be played meanwhile.
        outside_delay: Inferences that were not, because the delay was beyond the trained one.
        delay_exceeded: Chunks that took effect later than the policy was told.
    """

    given: int = 0
    outside_delay: int = 0
    delay_exceeded: int = 0


class Prefixes:
    """Makes the prefix of each inference, and checks what came of it.

    Attributes:
        counts: What became of them.
        problem: Kind and text of what is wrong with the delay at present, or None.
    """

    def __init__(self, options: PrefixOptions) -> None:
        self.counts = PrefixCounts()
        self.problem: tuple[str, str] | None = None
        self._options = options
        self._consumed = ConsumedRows()
        self._played: tuple[Timeline[StampNs], ...] = ()

    def reset(self) -> None:
        """Forget what was played; how long a chunk takes remains known."""
        self._played = ()

    def playing(self, timeline: Timeline[StampNs], now_ns: StampNs) -> None:
        """Note the timeline that is played from its start on."""
        kept = [
            line
            for line, after in zip(self._played, self._played[1:], strict=False)
            if after.start_ns > now_ns - _REMEMBERED_NS
        ]
        self._played = (*kept, *self._played[-1:], timeline)

    def consumed(self, chunk: ActionChunk, passed: int) -> None:
        """Note that the first `passed` rows of a chunk had passed when it took effect."""
        rows = self._options.start + passed
        self._consumed.add(rows)
        if chunk.delay_rows is None or rows <= chunk.delay_rows:
            return
        self.counts.delay_exceeded += 1
        self.problem = (
            "exceeded",
            f"a chunk took effect after {rows} of its rows, but was inferred for a delay of "
            f"{chunk.delay_rows}: it is blended in as it is",
        )

    def prefix(self, observed_ns: StampNs) -> ActionPrefix | None:
        """What to tell the policy with an observation made at `observed_ns`.

        Returns:
            None if nothing is being played, or if the delay is beyond the trained one; the latter
            is counted, and `problem` says it.
        """
        delay = self._consumed.largest
        rows = rows_to_come(self._played, self._options.sent_ns(observed_ns))
        if rows is None or delay is None:
            return None
        trained = self._options.max_delay
        if trained is not None and delay > trained:
            self.counts.outside_delay += 1
            self.problem = (
                "outside",
                f"chunks take effect after {delay} rows, but the policy was trained for a delay "
                f"of at most {trained}: inferring without real-time chunking, chunks are blended",
            )
            return None
        self.problem = None
        self.counts.given += 1
        return ActionPrefix(rows, min(delay, len(rows)))

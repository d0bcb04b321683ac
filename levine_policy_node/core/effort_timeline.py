# SPDX-License-Identifier: Apache-2.0
"""Efforts on absolute time: what a policy pushes with, from when until when.

An effort stands unchanged from its time to the next one's (zero-order hold). That is what the
policy was trained with: its simulator or controller applied one effort for a whole period. A line
between two rows would need the row that is not inferred yet, or come half a period late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.timeline import ClockNs
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs, nanoseconds

_HALF_NS = 0.501e-9


@dataclass(frozen=True, slots=True, eq=False)
class EffortTimeline(Generic[ClockNs]):
    """Efforts that stand from one knot to the next.

    Attributes:
        joint_names: J names, the column order of `efforts`.
        start_ns: Absolute time of `times_s[0]`.
        times_s: Knot times after `start_ns`, shape (K,) [s], first 0, strictly increasing; at the
            last one the efforts end.
        efforts: Shape (K, J) [N m]; the last row repeats the one before it.
        source: Who asks for them (source tag).
    """

    joint_names: tuple[str, ...]
    start_ns: ClockNs
    times_s: FloatArray
    efforts: FloatArray
    source: str = ""

    def __post_init__(self) -> None:
        if self.efforts.shape != (len(self.times_s), len(self.joint_names)):
            raise ValueError(f"efforts: {self.efforts.shape} for {len(self.times_s)} knots")
        if len(self.times_s) < 2 or self.times_s[0] != 0.0 or np.any(np.diff(self.times_s) <= 0):
            raise ValueError("efforts: times_s must start at 0 and strictly increase")

    @property
    def end_ns(self) -> int:
        """Absolute time at which the efforts end, on the timeline's clock."""
        return int(self.start_ns) + round(float(self.times_s[-1]) * NS_PER_S)

    @property
    def duration_s(self) -> float:
        """Time from the first to the last knot [s]."""
        return float(self.times_s[-1])

    def at(self, time_ns: ClockNs) -> FloatArray | None:
        """The efforts (J,) [N m] in force at `time_ns`; None before the first and from the end."""
        offset_s = (int(time_ns) - int(self.start_ns)) / NS_PER_S
        if offset_s < 0.0 or int(time_ns) >= self.end_ns:
            return None
        return self.efforts[self.knot(offset_s)]

    def knot(self, offset_s: float) -> int:
        """Index of the efforts in force `offset_s` [s] after the start, before the end.

        A time in whole nanoseconds may miss its knot by half of one.
        """
        found = int(self.times_s.searchsorted(offset_s + _HALF_NS, side="right")) - 1
        return min(found, len(self.times_s) - 2)


def pushing(chunk: ActionChunk, actuation_delay_s: float = 0.0) -> EffortTimeline[StampNs]:
    """Put the efforts of a chunk on absolute time.

    Row i pushes during the period that ends at its time, as a velocity would. The last one stands
    one period longer: the chunk after it comes later by one inference, and an arm that is let go
    in between would be braked with every chunk.

    Args:
        chunk: With efforts.
        actuation_delay_s: How much earlier than its time a row is sent [s].

    Raises:
        ValueError: If the chunk has no efforts.
    """
    if chunk.efforts is None:
        raise ValueError("pushing: the chunk has no efforts")
    rows = len(chunk.efforts)
    times_s = chunk.dt_s * np.array([*range(rows), rows + 1], dtype=np.float64)
    return EffortTimeline(
        chunk.joint_names,
        StampNs(chunk.observed_ns - nanoseconds(actuation_delay_s)),
        times_s,
        np.vstack([chunk.efforts, chunk.efforts[-1:]]),
        chunk.source,
    )


def still_due(line: EffortTimeline[StampNs], now_ns: StampNs) -> EffortTimeline[StampNs] | None:
    """The efforts without those that have passed; None if all have."""
    if now_ns >= line.end_ns:
        return None
    first = max(0, line.knot((int(now_ns) - int(line.start_ns)) / NS_PER_S))
    if first == 0:
        return line
    begin_s = float(line.times_s[first])
    return replace(
        line,
        start_ns=StampNs(line.start_ns + nanoseconds(begin_s)),
        times_s=line.times_s[first:] - begin_s,
        efforts=line.efforts[first:],
    )

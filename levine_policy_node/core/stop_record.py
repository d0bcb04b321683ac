# SPDX-License-Identifier: Apache-2.0
"""A stop as it was read from its file; times in [s] relative to the stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from levine_policy_node.core.units import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Joint values over time.

    Attributes:
        times_s: Shape (N,) [s] relative to the stop.
        position: Shape (N, J) [rad].
        velocity: Shape (N, J) [rad/s].
        sources: N source tags, "" for a measurement.
    """

    times_s: FloatArray
    position: FloatArray
    velocity: FloatArray
    sources: tuple[str, ...] = ()

    def until(self, time_s: float) -> int:
        """Index of the last row at or before `time_s`; -1 if there is none."""
        return int(self.times_s.searchsorted(time_s, side="right")) - 1

    def before(self, time_s: float) -> Track:
        """The rows before `time_s`."""
        end = int(self.times_s.searchsorted(time_s, side="left"))
        return Track(
            self.times_s[:end], self.position[:end], self.velocity[:end], self.sources[:end]
        )


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was said: when [s], its name, how severe, what."""

    time_s: float
    name: str
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class StopRecord:
    """What the file of a stop holds.

    Attributes:
        file: Its name.
        joint_names: J names, the column order of all arrays.
        metadata: What was known when the stop began: cause, limits, options, versions.
        end: What was known when the file was closed; empty if it never was.
        measured: `joint_states`.
        command: `supervisor/command`.
        proposal: `supervisor/proposal`.
        ticks: Documents of `supervisor/ticks`, each with `time_s`.
        events: `supervisor/events`, in order.
        last_window_s: When the last window that was sent ends, which is at rest [s]; None if none
            was sent.
        chunks: When each chunk came [s] and its source tag.
    """

    file: str
    joint_names: tuple[str, ...]
    metadata: Mapping[str, Any]
    end: Mapping[str, Any]
    measured: Track
    command: Track
    proposal: Track
    ticks: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Happening] = ()
    last_window_s: float | None = None
    chunks: Sequence[tuple[float, str]] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether the file was closed by who wrote it."""
        return bool(self.end)


def empty_track(joints: int) -> Track:
    """A track without rows."""
    none = np.zeros((0, joints))
    return Track(np.zeros(0), none, none)

# SPDX-License-Identifier: Apache-2.0
"""What happened, as a list of plain records, and a hash that two equal runs share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from levine_policy_node.core.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened.

    Attributes:
        time_ns: On the fake steady clock.
        kind: `process`, `injected`, `observable`, `mode`, `fault`, `note`, `reply`, `dropped`,
            `window`, `command`, `rejected` or `cycle`.
        values: What there is to say; texts, numbers, arrays and timelines.
    """

    time_ns: int
    kind: str
    values: tuple[Any, ...]


class Trace:
    """Records in the order they happened."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, time_ns: int, kind: str, *values: Any) -> None:
        """Note one thing; arrays and timelines must not be written to afterwards."""
        self.records.append(Record(int(time_ns), kind, values))

    def of(self, *kinds: str) -> list[Record]:
        """The records of these kinds."""
        return [record for record in self.records if record.kind in kinds]

    def first(self, kind: str) -> Record | None:
        """The first record of a kind, None if there is none."""
        return next((record for record in self.records if record.kind == kind), None)

    def digest(self) -> str:
        """SHA-256 over every bit of every record."""
        hashed = hashlib.sha256()
        for record in self.records:
            hashed.update(f"{record.time_ns} {record.kind}".encode())
            for value in record.values:
                _add(hashed, value)
        return hashed.hexdigest()


def _add(hashed: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        hashed.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Timeline):
        hashed.update(f"{value.start_ns} {value.source}".encode())
        for values in (value.times_s, value.positions, value.velocities, value.accelerations):
            hashed.update(np.ascontiguousarray(values).tobytes())
    else:
        # repr of a float names it exactly.
        hashed.update(repr(value).encode())

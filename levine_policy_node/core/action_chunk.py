# SPDX-License-Identifier: Apache-2.0
"""What a policy asked for: rows of joint targets on absolute time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """Joint targets of one inference.

    Row i belongs to `observed_ns + (i + 1) * dt_s`: the first row is the target one period after
    the observation was captured.

    Attributes:
        joint_names: J names, the column order of `positions`.
        observed_ns: Capture stamp of the observation the chunk was computed from.
        dt_s: Time between rows [s].
        positions: Shape (T, J) [rad].
        source: Source tag, `policy:<name>@<hash8>#<epoch>`.
        integrated_from: Where the sum of a joint's velocities begins, shape (J,) [rad], NaN for a
            joint whose targets are positions; None if all are. Of the others only the differences
            between rows count.
        delay_rows: For how many rows before the chunk takes effect it was inferred (real-time
            chunking, rows as the policy returns them); None if it knows of no delay.
        efforts: What to push with instead of targets, shape (T, J) [N m], during the period that
            ends at the row's time; `positions` then repeat where the arm was observed. None if
            the targets are positions.
    """

    joint_names: tuple[str, ...]
    observed_ns: StampNs
    dt_s: float
    positions: FloatArray
    source: str = ""
    delay_rows: int | None = None
    integrated_from: FloatArray | None = None
    efforts: FloatArray | None = None

    def row_stamp(self, row: int) -> StampNs:
        """When row `row` is due, on the ROS clock [ns]."""
        return StampNs(self.observed_ns + nanoseconds((row + 1) * self.dt_s))

    def held(self, rows: int) -> ActionChunk:
        """The chunk with its last row `rows` more times: a target that stands until the next."""
        if rows == 0:
            return self
        last = np.repeat(self.positions[-1:], rows, axis=0)
        return replace(self, positions=np.concatenate([self.positions, last]))

# SPDX-License-Identifier: Apache-2.0
"""How other projects play a chunk as a curve or a buffer at the control rate.

Written anew from reading the files named; see `peer_rules` for what that is worth.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from levine_policy_node.bench.chunk_stream import OUTPUT_HZ, StreamedChunk
from levine_policy_node.core.units import FloatArray


class ChunkPlayer:
    """Plays the newest chunk, and asks for the next at once."""

    def __init__(self, dt_s: float) -> None:
        self.starved = False
        self.dt_s = dt_s
        self.chunk: StreamedChunk | None = None
        self.start_s = 0.0

    def wants(self, now_s: float) -> bool:
        """Replan at once."""
        return True

    def requested(self, now_s: float) -> None:
        """Nothing to note."""

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Play it from now on, row 0 at the time of its observation."""
        self.chunk, self.start_s = chunk, chunk.observed_s

    def command(self, now_s: float) -> FloatArray | None:
        """The rows, interpolated linearly, and the last one for ever."""
        if self.chunk is None:
            return None
        at = (now_s - self.start_s) / self.dt_s
        last = len(self.chunk.rows) - 1
        self.starved = at > last
        low = min(max(math.floor(at), 0), last)
        high = min(low + 1, last)
        share = min(max(at - low, 0.0), 1.0)
        return (1.0 - share) * self.chunk.rows[low] + share * self.chunk.rows[high]


class IsaacSampler(ChunkPlayer):
    """Linear interpolation on the chunk's own time; a new chunk replaces the old.

    isaac_ros_deploy, `isaac_deploy_core/chunk_sampler.hpp`, with an exact stamp.
    """


class ArrivalSampler(ChunkPlayer):
    """The same from the moment the chunk arrives: what is done when nothing carries a stamp."""

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Play it from row 0 on."""
        self.chunk, self.start_s = chunk, now_s


class TrossenSlot(ChunkPlayer):
    """Rows by the clock, with a linear fade of 0.2 s from the last command at every takeover.

    trossen_sdk, `include/trossen_sdk/hw/policy/action_chunk.hpp` (`swap_in_aligned`); grippers
    skip the fade.
    """

    def __init__(self, dt_s: float, fade_s: float = 0.2) -> None:
        super().__init__(dt_s)
        self._fade_s = fade_s
        self._taken_s = 0.0
        self._from: FloatArray | None = None
        self._sent: FloatArray | None = None

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Take over at once; row 0 belongs to the clock step of the observation."""
        self.chunk, self._taken_s, self._from = chunk, now_s, self._sent
        self.start_s = math.floor(chunk.observed_s / self.dt_s + 1e-6) * self.dt_s

    def command(self, now_s: float) -> FloatArray | None:
        """The row of this clock step, mixed with the command at the takeover."""
        if self.chunk is None:
            return None
        step = math.floor((now_s - self.start_s) / self.dt_s + 1e-6)
        self.starved = step >= len(self.chunk.rows)
        row = self.chunk.rows[min(max(step, 0), len(self.chunk.rows) - 1)]
        share = min((now_s - self._taken_s) / self._fade_s, 1.0)
        if self._from is not None and share < 1.0:
            mixed = (1.0 - share) * self._from + share * row
            row = np.where(self.chunk.discrete, row, mixed)
        self._sent = row
        return row


class CycloBuffer:
    """Appends a chunk, cut where it comes nearest to the end of the buffer, at 100 Hz.

    cyclo_intelligence, `cyclo_brain/sdk/post_processing/` (`action_chunk_processor.py`): nearest
    row (L2) in the first 0.3 s, linear interpolation, 0.2 s fade from the last action, and the
    next chunk when less than 0.2 s is left.
    """

    def __init__(self, dt_s: float) -> None:
        self.starved = False
        self._dt_s = dt_s
        self._buffer: deque[FloatArray] = deque()
        self._last: FloatArray | None = None

    def wants(self, now_s: float) -> bool:
        """When the buffer runs low."""
        return len(self._buffer) < 0.2 * OUTPUT_HZ

    def requested(self, now_s: float) -> None:
        """Nothing to note."""

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Align, interpolate, fade, append."""
        rows = chunk.rows
        if self._last is not None:
            search = max(1, round(0.3 / self._dt_s))
            rows = rows[int(np.argmin(np.linalg.norm(rows[:search] - self._last, axis=1))) + 1 :]
        count = round((len(rows) - 1) * self._dt_s * OUTPUT_HZ) + 1
        at = np.linspace(0.0, len(rows) - 1.0, count)
        low = np.minimum(at.astype(int), len(rows) - 2)
        dense = rows[low] + (at - low)[:, None] * (rows[low + 1] - rows[low])
        if self._last is not None:
            fade = min(round(0.2 * OUTPUT_HZ), len(dense))
            share = (np.arange(1, fade + 1) / (fade + 1))[:, None]
            dense[:fade] = (1.0 - share) * self._last + share * dense[:fade]
        self._buffer.extend(dense)
        self._last = dense[-1]

    def command(self, now_s: float) -> FloatArray | None:
        """The next of the buffer; one call is one tick."""
        self.starved = not self._buffer and self._last is not None
        return self._buffer.popleft() if self._buffer else self._last


class JtcUpsampling:
    """A cubic spline through the rows, entered from the commanded position and velocity.

    ros2_controllers, `joint_trajectory_controller` (`fill_cubic_spline_velocities`, pull request
    2491): at rest in the first and the last row, unless `continuous` gives the first row the
    commanded velocity (2573). The first row is due one period after the arrival, unless `trimmed`,
    where the sender drops what is past and states when the rest is due.
    """

    def __init__(self, dt_s: float, *, continuous: bool, trimmed: bool) -> None:
        self.starved = False
        self._dt_s = dt_s
        self._continuous, self._trimmed = continuous, trimmed
        self._times_s: FloatArray = np.zeros(0)
        self._rows: FloatArray = np.zeros((0, 0))
        self._velocities: FloatArray = np.zeros((0, 0))

    def wants(self, now_s: float) -> bool:
        """Replan at once."""
        return True

    def requested(self, now_s: float) -> None:
        """Nothing to note."""

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Solve for the velocities and put the present state in front."""
        times_s, rows = chunk.times_s, chunk.rows
        if self._trimmed:
            # One period is left for the way in; less makes its jerk worse.
            due = times_s >= now_s + self._dt_s
            times_s, rows = times_s[due], rows[due]
        else:
            times_s = now_s + self._dt_s * np.arange(1, len(rows) + 1)
        if len(rows) < 2:
            return
        standing = np.zeros(rows.shape[1])
        position, velocity = (rows[0], standing) if len(self._rows) == 0 else self._state(now_s)
        inside = clamped_velocities(rows, self._dt_s, velocity if self._continuous else standing)
        self._times_s = np.concatenate(([now_s], times_s))
        self._rows = np.vstack([position, rows])
        self._velocities = np.vstack([velocity, inside])

    def command(self, now_s: float) -> FloatArray | None:
        """The cubic between the two knots around `now_s`."""
        if len(self._rows) == 0:
            return None
        self.starved = now_s > self._times_s[-1]
        return self._state(now_s)[0]

    def _state(self, now_s: float) -> tuple[FloatArray, FloatArray]:
        if now_s >= self._times_s[-1]:
            return self._rows[-1], np.zeros(self._rows.shape[1])
        k = max(int(self._times_s.searchsorted(now_s, side="right")) - 1, 0)
        h = self._times_s[k + 1] - self._times_s[k]
        u = (now_s - self._times_s[k]) / h
        step = self._rows[k + 1] - self._rows[k]
        begin, end = h * self._velocities[k], h * self._velocities[k + 1]
        square, cube = 3.0 * step - 2.0 * begin - end, begin + end - 2.0 * step
        position = self._rows[k] + u * (begin + u * (square + u * cube))
        return position, (begin + u * (2.0 * square + 3.0 * u * cube)) / h


def clamped_velocities(rows: FloatArray, dt_s: float, first: FloatArray) -> FloatArray:
    """Velocities (T, J) [rad/s] of the C2 cubic through `rows` with `first` and rest at the ends.

    The tridiagonal system for the slopes of a clamped spline (de Boor, A Practical Guide to
    Splines, chapter IV).
    """
    count = len(rows)
    system = np.diag(np.full(count, 4.0)) + np.diag(np.ones(count - 1), 1)
    system += np.diag(np.ones(count - 1), -1)
    right = np.zeros_like(rows)
    right[1:-1] = 3.0 * (rows[2:] - rows[:-2]) / dt_s
    right[0] = first
    for end, inner in ((0, 1), (-1, -2)):
        system[end, end], system[end, inner] = 1.0, 0.0
    return np.asarray(np.linalg.solve(system, right), dtype=np.float64)

# SPDX-License-Identifier: Apache-2.0
"""How other projects hand out a chunk row by row, in a few lines of NumPy each.

Written anew from reading the files named, without their threads, transports and tuning: for
orders of magnitude, not claims about a product. Where a choice was open, the kinder one was taken.
"""

from __future__ import annotations

import math

import numpy as np

from levine_policy_node.bench.chunk_stream import OUTPUT_HZ, StreamedChunk
from levine_policy_node.core.units import FloatArray


class StepLoop:
    """A control loop at the policy's rate: one row per step, held until the next."""

    def __init__(self, dt_s: float) -> None:
        self.starved = False
        self.dt_s = dt_s
        self._step = -1
        self._held: FloatArray | None = None

    def wants(self, now_s: float) -> bool:
        """Replan at once."""
        return True

    def requested(self, now_s: float) -> None:
        """Nothing to note."""

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Keep the rows of a chunk."""
        raise NotImplementedError

    def pop(self, step: int) -> FloatArray | None:
        """The row of a step since the start, or None if there is none."""
        raise NotImplementedError

    def command(self, now_s: float) -> FloatArray | None:
        """The row of the present step."""
        now = self.step_at(now_s)
        while self._step < now:
            self._step += 1
            row = self.pop(self._step)
            self.starved = row is None and self._held is not None
            self._held = self._held if row is None else row
        return self._held

    def step_at(self, now_s: float) -> int:
        """The step that is being executed at `now_s`."""
        return math.floor(now_s / self.dt_s + 1e-6)


class OpenPiBroker(StepLoop):
    """Blocks for a chunk, plays half of it from row 0 on, blocks again.

    openpi, `packages/openpi-client/src/openpi_client/action_chunk_broker.py`.
    """

    def __init__(self, dt_s: float) -> None:
        super().__init__(dt_s)
        self._chunk: StreamedChunk | None = None
        self._start_s = 0.0

    def wants(self, now_s: float) -> bool:
        """Only when the rows are used up."""
        return self._chunk is None or self._due(now_s) >= len(self._chunk.rows) // 2

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """The blocked loop goes on at once."""
        self._chunk, self._start_s = chunk, now_s

    def command(self, now_s: float) -> FloatArray | None:
        """Rows count from the arrival, since the loop stood still until then."""
        if self._chunk is None:
            return None
        last = len(self._chunk.rows) // 2 - 1
        self.starved = self._due(now_s) > last
        return self._chunk.rows[min(self._due(now_s), last)]

    def _due(self, now_s: float) -> int:
        return math.floor((now_s - self._start_s) / self.dt_s + 1e-6)


class LeRobotQueue(StepLoop):
    """Rows by time step, counted from the step executed when the observation was made.

    LeRobot, `src/lerobot/async_inference/robot_client.py` (`_aggregate_action_queues`) and
    `configs.py`: `latest_only` (`old_share` 0) and `weighted_average` (0.3).
    """

    def __init__(self, dt_s: float, old_share: float) -> None:
        super().__init__(dt_s)
        self._old_share = old_share
        self._queue: dict[int, FloatArray] = {}
        self._latest = -1
        self._origin = 0

    def requested(self, now_s: float) -> None:
        """Stamp the observation with the step last executed."""
        self._origin = max(self._latest, 0)

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Replace what is queued; rows of a step that is already queued are averaged."""
        merged: dict[int, FloatArray] = {}
        for step, row in enumerate(chunk.rows, self._origin):
            if step > self._latest:
                old = self._queue.get(step)
                new_share = 1.0 - self._old_share
                merged[step] = row if old is None else self._old_share * old + new_share * row
        self._queue = merged

    def pop(self, step: int) -> FloatArray | None:
        """The next queued row, whatever step it was meant for."""
        if not self._queue:
            return None
        self._latest = next(iter(self._queue))
        return self._queue.pop(self._latest)


class LeRobotInterpolated(LeRobotQueue):
    """A queue played through linear interpolation from each row to the next.

    LeRobot, `src/lerobot/utils/action_interpolator.py`.
    """

    def __init__(self, dt_s: float, old_share: float) -> None:
        super().__init__(dt_s, old_share)
        self._ticks: list[FloatArray] = []
        self._from: FloatArray | None = None

    def command(self, now_s: float) -> FloatArray | None:
        """The next of the ticks between two rows; one call is one tick."""
        if not self._ticks:
            self._interpolate_to(self.pop(0))
        if self._ticks:
            self._held = self._ticks.pop(0)
        return self._held

    def _interpolate_to(self, row: FloatArray | None) -> None:
        self.starved = row is None and self._held is not None
        if row is None:
            return
        start = row if self._from is None else self._from
        count = max(1, round(OUTPUT_HZ * self.dt_s))
        self._ticks = [start + (row - start) * (n / count) for n in range(1, count + 1)]
        self._from = row


class ActEnsemble(StepLoop):
    """Averages all chunks that cover a step, weights exp(-k i), the oldest first.

    ACT, `imitate_episodes.py` (temporal aggregation), with chunks that arrive late. Its mask
    that takes a zero for a missing action is left out.
    """

    def __init__(self, dt_s: float, k: float = 0.01) -> None:
        super().__init__(dt_s)
        self._k = k
        self._origin = 0
        self._chunks: list[tuple[int, FloatArray]] = []

    def requested(self, now_s: float) -> None:
        """Row 0 belongs to the step of the observation."""
        self._origin = self.step_at(now_s)

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Keep it beside the others."""
        self._chunks.append((self._origin, chunk.rows))

    def pop(self, step: int) -> FloatArray | None:
        """The average for one step."""
        self._chunks = [(at, rows) for at, rows in self._chunks if step - at < len(rows)]
        if not self._chunks:
            return None
        said = np.array([rows[step - at] for at, rows in self._chunks])
        weights = np.exp(-self._k * np.arange(len(said)))
        return weights @ said / weights.sum()


class PhysicalAiLerp(StepLoop):
    """Drops as many rows as were consumed meanwhile, then fades linearly over five rows.

    physicalai, `runtime/smoothers.py` (`LerpSmoother`) and `runtime/execution/`.
    """

    def __init__(self, dt_s: float, frames: int = 5) -> None:
        super().__init__(dt_s)
        self._frames = frames
        self._queue: FloatArray | None = None
        self._consumed = 0

    def requested(self, now_s: float) -> None:
        """Count from here."""
        self._consumed = 0

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Merge with what remains."""
        rows = chunk.rows[self._consumed :].copy()
        if self._queue is not None:
            both = min(len(self._queue), len(rows))
            share = np.maximum(1.0 - np.arange(both) / max(min(both, self._frames), 1), 0.0)
            rows[:both] += share[:, None] * (self._queue[:both] - rows[:both])
        self._queue = rows

    def pop(self, step: int) -> FloatArray | None:
        """The next row."""
        if self._queue is None or len(self._queue) == 0:
            return None
        row, self._queue = self._queue[0], self._queue[1:]
        self._consumed += 1
        return row


class AxolClient(LeRobotQueue):
    """Shifts a chunk onto the present target, averages, and follows with a trapezoidal filter.

    axol, `almond_axol/cli/run_policy.py` (`_align_incoming_chunk`, fading over 1 s;
    `_temporal_ensemble_aggregate`, weights tapering over a chunk's last 0.2 s; grippers take the
    newest chunk) and `almond_axol/teleop/filter.py` (`TrapezoidalFilter`), at its own limits.
    """

    def __init__(self, dt_s: float, k: float = 0.01) -> None:
        super().__init__(dt_s, 0.0)
        self._k = k
        self._align_steps, self._taper_steps = round(1.0 / dt_s), max(1, round(0.2 / dt_s))
        self._buffer: list[tuple[int, FloatArray]] = []
        self._filter = TrapezoidalFilter(2.0 * math.pi, 7.0 * math.pi, 1.0 / OUTPUT_HZ)
        self._discrete: np.ndarray = np.zeros(0, dtype=bool)

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Align, then rebuild the queue from every chunk that is not over."""
        self._discrete = chunk.discrete
        rows, start = chunk.rows.copy(), self._latest + 1
        if self._held is not None:
            offset = self._held - rows[int(np.clip(start - self._origin, 0, len(rows) - 1))]
            steps = self._origin + np.arange(len(rows)) - start
            fade = np.clip(1.0 - steps / self._align_steps, 0.0, 1.0)[:, None]
            rows += fade * np.where(self._discrete, 0.0, offset)
        buffer = [*self._buffer, (self._origin, rows)]
        self._buffer = [(at, rows) for at, rows in buffer if at + len(rows) > start]
        end = max(at + len(rows) for at, rows in self._buffer)
        total, weight = np.zeros((end - start, rows.shape[1])), np.zeros((end - start, 1))
        newest = np.zeros_like(total)
        for i, (at, said) in enumerate(self._buffer):
            skipped = max(start - at, 0)
            here = slice(at + skipped - start, at + len(said) - start)
            left = np.arange(len(said) - skipped, 0, -1)
            share = np.exp(-self._k * i) * np.minimum(left / self._taper_steps, 1.0)[:, None]
            total[here] += share * said[skipped:]
            weight[here] += share
            newest[here] = said[skipped:]
        mixed = np.where(self._discrete, newest, total / weight)
        self._queue = {start + n: row for n, row in enumerate(mixed)}

    def command(self, now_s: float) -> FloatArray | None:
        """Follow the target of the present step; one call is one tick."""
        target = super().command(now_s)
        if target is None:
            return None
        return np.where(self._discrete, target, self._filter.step(target))


class TrapezoidalFilter:
    """Follows a target under velocity and acceleration limits, so as to stop on it.

    axol, `almond_axol/teleop/filter.py`.
    """

    def __init__(self, velocity: float, acceleration: float, dt_s: float) -> None:
        self._velocity_limit, self._acceleration, self._dt_s = velocity, acceleration, dt_s
        self._position: FloatArray | None = None
        self._velocity: FloatArray | None = None

    def step(self, target: FloatArray) -> FloatArray:
        """The next position on the way to `target`, both (J,) [rad]."""
        if self._position is None or self._velocity is None:
            self._position, self._velocity = target.copy(), np.zeros_like(target)
            return self._position
        gap = target - self._position
        stopping = np.sqrt(2.0 * self._acceleration * np.abs(gap))
        wanted = np.sign(gap) * np.minimum(self._velocity_limit, stopping)
        change = self._acceleration * self._dt_s
        velocity = self._velocity + np.clip(wanted - self._velocity, -change, change)
        over = np.abs(velocity * self._dt_s) > np.abs(gap)
        self._position = np.where(over, target, self._position + velocity * self._dt_s)
        self._velocity = np.where(over, gap / self._dt_s, velocity)
        return self._position

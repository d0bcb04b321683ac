# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking: a flow policy continues what is being played (Black et al., 2025).

Two forms that steer the denoising loop. `Guidance` pulls the sample towards the prefix; weights
and factor are those of LeRobot's `RTCProcessor` (`policies/rtc/modeling_rtc.py`), whose gradient
is the identity, so no autograd is needed (huggingface/lerobot#2511). `HardPrefix` fixes the rows
that will have been played, for policies trained with such prefixes. Both compute in float32, as
the graphs do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Schedule = Literal["zeros", "ones", "linear", "exp"]


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPrefix:
    """An action prefix in the network's unit.

    Attributes:
        rows: Shape (L, A).
        delay: How many of the rows will have been played when the chunk takes effect, 0 to L.
    """

    rows: npt.NDArray[Any]
    delay: int

    def padded(self, rows: int, columns: int) -> Float32Array:
        """The rows in an array (1, rows, columns) that is zero elsewhere.

        The zeros are not targets: whoever uses the array masks them, by `delay` or by weights.
        Only columns beyond A are meant as zero, as the policy's own padding was in training.
        """
        result = np.zeros((1, rows, columns), dtype=np.float32)
        kept = self.rows[:rows]
        result[0, : len(kept), : kept.shape[1]] = kept
        return result


@dataclass(frozen=True, slots=True)
class HardPrefix:
    """Rows that will have been played are fixed, and their time is that of clean actions, 0."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """Each velocity is corrected towards the prefix.

    Attributes:
        schedule: How the weight of a row falls from the last played row to the horizon.
        execution_horizon: Rows that are drawn towards the prefix at most.
        max_weight: Largest guidance weight.
    """

    schedule: Schedule = "linear"
    execution_horizon: int = 10
    max_weight: float = 10.0

    def row_weights(self, prefix: NetworkPrefix, rows: int) -> Float32Array:
        """Weight of every row of a chunk, shape (rows,)."""
        horizon = min(self.execution_horizon, len(prefix.rows))
        return prefix_weights(self.schedule, prefix.delay, horizon, rows)

    def factor(self, time: float) -> float:
        """Guidance weight at flow time `time` (1: noise, 0: actions).

        `min(max_weight, c / r^2)` with `c = t / (1 - t)` and `1 / r^2 = (t^2 + (1-t)^2) / t^2`;
        at both ends it is `max_weight`.
        """
        tau = 1.0 - time
        if tau <= 0.0 or time <= 0.0:
            return self.max_weight
        return min(self.max_weight, (time**2 + tau**2) / (time * tau))

    def corrected(
        self,
        velocity: Float32Array,
        sample: Float32Array,
        time: float,
        target: Float32Array,
        weights: Float32Array,
    ) -> Float32Array:
        """The velocity that leads closer to the prefix.

        Args:
            velocity: Of the graph, shape (1, T, A).
            sample: Where the flow is, shape (1, T, A).
            time: Flow time of the sample.
            target: The padded prefix, shape (1, T, A).
            weights: Per row, shape (T,).
        """
        error = (target - (sample - time * velocity)) * weights[:, None]
        return (velocity - self.factor(time) * error).astype(np.float32)


def prefix_weights(schedule: Schedule, start: int, end: int, total: int) -> Float32Array:
    """How much each row is drawn towards the prefix, shape (total,).

    Args:
        schedule: `zeros`: only the first `start` rows; `ones`: the first `end`; `linear` and
            `exp`: falling from 1 at `start` to 0 at `end`.
        start: Rows that will have been played.
        end: Rows up to here are drawn towards the prefix.
        total: Rows of the chunk.
    """
    end = min(end, total)
    start = min(start, end)
    weights = np.zeros(total)
    if schedule == "zeros":
        weights[:start] = 1.0
        return weights.astype(np.float32)
    weights[:end] = 1.0
    if schedule != "ones":
        falling = np.linspace(1.0, 0.0, end - start + 2)[1:-1]
        if schedule == "exp":
            falling = falling * np.expm1(falling) / (math.e - 1.0)
        weights[start:end] = falling
    return weights.astype(np.float32)

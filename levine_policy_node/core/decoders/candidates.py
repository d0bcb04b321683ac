# SPDX-License-Identifier: Apache-2.0
"""How planners ask a graph what candidate action sequences are worth, and what they remember."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.decoders.decoder import Graphs
from levine_policy_node.core.decoders.graph_outputs import STEP
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import InferenceError


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A graph that maps candidates to one number each: a Q-function, or the cost of a rollout.

    Attributes:
        action: Input of `step` for the candidates, shape (N, H, A), or (N, A) if `flat`.
        value: Output of `step`, shape (N,) or (N, 1).
        maximize: Whether more is better, as with Q-values; costs are minimised.
        flat: Whether the graph takes single actions, so that the horizon is 1.
        batch: Candidates per run; None for all at once.
    """

    action: str
    value: str
    maximize: bool = True
    flat: bool = False
    batch: int | None = None

    def rewards(self, graphs: Graphs, feed: Tensors, candidates: FloatArray) -> FloatArray:
        """What each candidate is worth, more being better, shape (N,).

        Args:
            graphs: Of the bundle.
            feed: The other inputs, with a batch axis of 1.
            candidates: Shape (N, H, A).

        Raises:
            InferenceError: If it is not one number per candidate.
        """
        size = self.batch or len(candidates)
        parts = [
            self._values(graphs, feed, candidates[begin : begin + size])
            for begin in range(0, len(candidates), size)
        ]
        values = np.concatenate(parts)
        if np.any(np.isnan(values)):
            raise InferenceError(f"output {self.value} is not a number for some candidate")
        return values if self.maximize else -values

    def _values(self, graphs: Graphs, feed: Tensors, candidates: FloatArray) -> FloatArray:
        given = candidates[:, 0] if self.flat else candidates
        inputs = {**feed, self.action: given.astype(np.float32)}
        values = np.asarray(graphs.run(STEP, inputs)[self.value], dtype=np.float64)
        count = len(candidates)
        if values.shape not in {(count,), (count, 1)}:
            raise InferenceError(
                f"output {self.value} has shape {values.shape}, not ({count},), one per candidate"
            )
        return values.reshape(count)


@dataclass(slots=True, eq=False)
class Plan:
    """What a planner remembers from one inference to the next.

    Attributes:
        rows: The last plan, shape (H, A); None at the beginning.
    """

    rows: FloatArray | None = None

# SPDX-License-Identifier: Apache-2.0
"""The graph's output is the chunk: behaviour cloning, ACT, regression heads, unrolled samplers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import InferenceError


@dataclass(frozen=True, slots=True)
class DirectDecoder(Decoder):
    """Run a graph once and take one output.

    Attributes:
        output: Name of the output, shape (1, T, A), or (1, A) when T is 1.
        rows: T.
        columns: A.
        role: Graph that is run.
        index: The row of the output that is taken, -1 for the last, where T is 1 and the graph
            returns a row for everything it saw (Decision Transformer).
    """

    output: str
    rows: int
    columns: int
    role: str = "step"
    index: int | None = None

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Return the output as (T, A) float64; see `Decoder`.

        A graph that takes noise or a prefix has them among its inputs.
        """
        del noise, prefix
        actions = np.asarray(graphs.run(self.role, inputs)[self.output], dtype=np.float64)
        if self.index is not None and actions.ndim == 3 and len(actions) == 1:
            actions = self._row(actions[0])
        if actions.shape not in direct_shapes(self.rows, self.columns):
            raise InferenceError(
                f"output {self.output} has shape {actions.shape}, "
                f"not {(1, self.rows, self.columns)}"
            )
        return actions.reshape(self.rows, self.columns)

    def _row(self, actions: FloatArray) -> FloatArray:
        index = self.index or 0
        if not -len(actions) <= index < len(actions):
            raise InferenceError(f"output {self.output} has {len(actions)} rows, none is {index}")
        return actions[index][None]


def direct_shapes(rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
    """Output shapes that mean `rows` of `columns`: with a batch axis, and without T when 1."""
    batched = (1, rows, columns)
    return (batched, (1, columns)) if rows == 1 else (batched,)

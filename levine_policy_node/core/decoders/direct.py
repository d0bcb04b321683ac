# SPDX-License-Identifier: Apache-2.0
"""The graph's output is the chunk: behaviour cloning, ACT, regression heads, unrolled samplers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.decoders.decoder import Graphs
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import InferenceError


@dataclass(frozen=True, slots=True)
class DirectDecoder:
    """Run `step` once and take one output.

    Attributes:
        output: Name of the output, shape (1, T, A), or (1, A) when T is 1.
        rows: T.
        columns: A.
    """

    output: str
    rows: int
    columns: int

    def decode(self, graphs: Graphs, inputs: Tensors) -> FloatArray:
        """Return the output as (T, A) float64; see `Decoder`."""
        actions = np.asarray(graphs.run("step", inputs)[self.output], dtype=np.float64)
        if actions.shape not in direct_shapes(self.rows, self.columns):
            raise InferenceError(
                f"output {self.output} has shape {actions.shape}, "
                f"not {(1, self.rows, self.columns)}"
            )
        return actions.reshape(self.rows, self.columns)


def direct_shapes(rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
    """Output shapes that mean `rows` of `columns`: with a batch axis, and without T when 1."""
    batched = (1, rows, columns)
    return (batched, (1, columns)) if rows == 1 else (batched,)

# SPDX-License-Identifier: Apache-2.0
"""A discrete choice: the value of the largest output (DQN, HIL-SERL's gripper critic)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.graph_outputs import STEP, encoded, largest, taken
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ArgmaxDecoder(Decoder):
    """Choose the action with the largest score.

    Attributes:
        rows: T.
        output: Name of the output with the scores, shape (1, T, n), or (1, n) when T is 1.
        values: What each of the n choices means, shape (n, A). HIL-SERL's gripper is
            `argmax - 1`, so [[-1], [0], [1]].
        role: Graph that is run.
        encode: Whether there is an `encode` graph; its outputs go to the graph by name.
    """

    rows: int
    output: str
    values: FloatArray
    role: str = STEP
    encode: bool = False

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Return the values of the choices; see `Decoder`."""
        del noise, prefix
        outputs = graphs.run(self.role, encoded(graphs, inputs, encode=self.encode))
        choices = len(self.values)
        shapes: tuple[tuple[int, ...], ...] = ((1, self.rows, choices),)
        if self.rows == 1:
            shapes += ((1, choices),)
        chosen = largest(taken(outputs, self.output, *shapes)[0], self.output)
        return np.asarray(self.values, dtype=np.float64)[chosen]

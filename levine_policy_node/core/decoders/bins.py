# SPDX-License-Identifier: Apache-2.0
"""Actions in bins, all in one pass: RT-1, and OpenVLA-OFT's parallel decoding.

RT-1 is described as autoregressive, but its code zeroes the embeddings of action tokens and masks
the attention between them (`transformer_network.py`), so all logits come from one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.bin_values import BinValues, TokenNumbers
from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.graph_outputs import STEP, encoded, largest, taken
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray

_BINS = TokenNumbers()
"""Logits that are those of the bins."""


@dataclass(frozen=True, slots=True)
class BinsDecoder(Decoder):
    """Take the bin with the largest logit, per value of the action.

    Attributes:
        rows: T.
        columns: A.
        vocabulary: Logits V per value; the bins, or the whole vocabulary of a language model.
        output: Name of the output with the logits, shape (1, T, A, V), (1, T A, V) or (T A, V).
        values: What the bins mean.
        tokens: Which token is which bin.
        allowed: First and last token that may be chosen; None for any, and those that are no bin
            then count as the nearest one (as OpenVLA does).
        role: Graph that is run.
        encode: Whether there is an `encode` graph; its outputs go to the graph by name.
    """

    rows: int
    columns: int
    vocabulary: int
    output: str
    values: BinValues
    tokens: TokenNumbers = _BINS
    allowed: tuple[int, int] | None = None
    role: str = STEP
    encode: bool = False

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Return the values of the bins; see `Decoder`."""
        del noise, prefix
        outputs = graphs.run(self.role, encoded(graphs, inputs, encode=self.encode))
        logits = taken(outputs, self.output, *bin_shapes(self.rows, self.columns, self.vocabulary))
        first, last = self.allowed or (0, self.vocabulary - 1)
        tokens = first + largest(logits[0, :, :, first : last + 1], self.output).astype(np.int64)
        return self.values.values(self.tokens.numbers(tokens))


def bin_shapes(rows: int, columns: int, vocabulary: int) -> tuple[tuple[int, ...], ...]:
    """Output shapes that mean `rows` of `columns`, each with `vocabulary` logits."""
    flat = (rows * columns, vocabulary)
    return (1, rows, columns, vocabulary), (1, *flat), flat

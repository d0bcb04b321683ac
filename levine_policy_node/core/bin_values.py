# SPDX-License-Identifier: Apache-2.0
"""Values of action bins, and which token means which bin.

Edges and centres differ by half a bin: of 256 bins over -1 to 1, number 128 is 0.0039 as an edge
(RT-1, RT-2) and 0.0078 as a centre (OpenVLA), so a bundle has to say which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import FloatArray

BinValue = Literal["edges", "centers", "integers"]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class BinValues:
    """What bin numbers mean, per column.

    Attributes:
        bins: Bins of a column, numbered from 0.
        value: `edges`: `number / (bins - 1)` of the way from low to high (RT-1,
            `tokenizers/action_tokenizer.py`); `centers`: the middle between two of these edges,
            of which there are one fewer, so that the last two numbers mean the same (OpenVLA,
            `prismatic/vla/action_tokenizer.py`); `integers`: the number itself.
        low: Lower end of every column, shape (A,).
        high: Upper end of every column, shape (A,).
        choices: For a column that chooses among n the n, and 0 for others, shape (A,). Its value
            is the number, or 0 if that is none of the choices (RT-1's rule).
    """

    bins: int
    value: BinValue
    low: FloatArray
    high: FloatArray
    choices: Whole

    def values(self, numbers: Whole) -> FloatArray:
        """Values of bin numbers, both of shape (T, A); numbers beyond the bins are clipped."""
        if self.value == "integers":
            values = np.clip(numbers, 0, self.bins - 1).astype(np.float64)
        elif self.value == "edges":
            share = np.clip(numbers, 0, self.bins - 1) / (self.bins - 1)
            values = share * (self.high - self.low) + self.low
        else:
            share = (np.clip(numbers, 0, self.bins - 2) + 0.5) / (self.bins - 1)
            values = share * (self.high - self.low) + self.low
        chosen = np.where((numbers >= 0) & (numbers < self.choices), numbers, 0)
        return np.where(self.choices > 0, chosen, values)


@dataclass(frozen=True, slots=True)
class TokenNumbers:
    """Which number a token is, for bins and for FAST.

    Attributes:
        first: Token of number 0.
        descending: Whether tokens fall as numbers rise, as where the last tokens of a vocabulary
            are used: OpenVLA's `vocabulary - token - 1` has its first token at `vocabulary - 1`.
    """

    first: int = 0
    descending: bool = False

    def numbers(self, tokens: Whole) -> Whole:
        """Number of every token, of the same shape; may be out of range."""
        return self.first - tokens if self.descending else tokens - self.first

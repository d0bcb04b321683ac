# SPDX-License-Identifier: Apache-2.0
"""What a language model keeps of the tokens it has seen, between two runs of its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.observation import Tensors
from levine_policy_node.errors import InferenceError


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One cached tensor, by the names that Optimum and ONNX Runtime GenAI use.

    Attributes:
        past: Input of `step`, `past_key_values.{i}.key` or `.value`.
        present: Output that goes there in the next run, `present.{i}.key` or `.value`.
        shape: Of the tensor before there are any tokens, (1, heads, 0, size).
        dtype: Of the tensor.
    """

    past: str
    present: str
    shape: tuple[int, ...]
    dtype: str


class KvCache:
    """The tensors that go from one run to the next, and how many tokens they stand for.

    Args:
        entries: Names of the tensors.
        encoded: Outputs of `encode`, which may have filled the cache, under the names of inputs
            or of outputs; None if there is no such graph.

    Raises:
        InferenceError: If `encode` left a tensor of the cache out.
    """

    def __init__(self, entries: Sequence[CacheEntry], encoded: Tensors | None) -> None:
        self._entries = entries
        self.tensors: dict[str, npt.NDArray[Any]] = {}
        for entry in entries:
            if encoded is None:
                value = np.zeros(entry.shape, dtype=entry.dtype)
            elif entry.past in encoded:
                value = encoded[entry.past]
            elif entry.present in encoded:
                value = encoded[entry.present]
            else:
                raise InferenceError(f"encode gives neither {entry.past} nor {entry.present}")
            self.tensors[entry.past] = value

    @property
    def length(self) -> int:
        """Tokens in the cache; 0 if there is none."""
        if not self._entries:
            return 0
        return int(self.tensors[self._entries[0].past].shape[-2])

    def keep(self, outputs: Tensors) -> None:
        """Take over what a run of `step` returned."""
        for entry in self._entries:
            self.tensors[entry.past] = outputs[entry.present]

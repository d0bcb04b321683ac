# SPDX-License-Identifier: Apache-2.0
"""Recurrent state: outputs of graphs that are inputs of the next inference (LSTM, RT-1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from levine_policy_node.core.decoders.decoder import Graphs
from levine_policy_node.core.observation import Tensors


class Feedback:
    """Graphs whose state is carried from inference to inference.

    All runs of one inference see the same state, and only an inference that succeeds changes it.

    Args:
        graphs: What runs.
        outputs: Output whose last value becomes the state, by the input it goes to.
        initial: State at the beginning, by input.
    """

    def __init__(
        self, graphs: Graphs, outputs: Mapping[str, str], initial: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        self._graphs = graphs
        self._outputs = outputs
        self._initial = initial
        self.reset()

    def reset(self) -> None:
        """Begin with the initial state again."""
        self._state = dict(self._initial)
        self._following: dict[str, npt.NDArray[Any]] = {}

    def begin(self) -> Tensors:
        """The state that this inference sees, by graph input."""
        self._following = {}
        return self._state

    def run(self, role: str, inputs: Tensors) -> Tensors:
        """Run a graph and note the state that it returns; see `Graphs.run`."""
        outputs = self._graphs.run(role, inputs)
        for name, output in self._outputs.items():
            if output in outputs:
                self._following[name] = outputs[output]
        return outputs

    def commit(self) -> None:
        """The inference succeeded: its state is that of the next."""
        self._state = {**self._state, **self._following}

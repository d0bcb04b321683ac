# SPDX-License-Identifier: Apache-2.0
"""What a decoder is: it runs graphs by role, as often as it needs, and returns action rows."""

from __future__ import annotations

from typing import Protocol

from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.units import FloatArray


class Graphs(Protocol):
    """The graphs of a bundle, by role (`encode`, `step`, ...)."""

    def run(self, role: str, inputs: Tensors) -> Tensors:
        """Run one graph once.

        Raises:
            InferenceError: If the graph fails or runs too long.
        """
        ...


class Decoder(Protocol):
    """Turns the observation's tensors into action rows."""

    def decode(self, graphs: Graphs, inputs: Tensors) -> FloatArray:
        """Return the actions in the network's unit, shape (T, A).

        Raises:
            InferenceError: If an output does not have the right shape.
        """
        ...

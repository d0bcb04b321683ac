# SPDX-License-Identifier: Apache-2.0
"""What a decoder is: it runs graphs by role, as often as it needs, and returns action rows."""

from __future__ import annotations

from typing import Protocol

from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray


class Graphs(Protocol):
    """The graphs of a bundle, by role (`encode`, `step`)."""

    def run(self, role: str, inputs: Tensors) -> Tensors:
        """Run one graph once, on those of `inputs` that it has.

        Raises:
            InferenceError: If the graph fails or runs too long.
        """
        ...


class Decoder(Protocol):
    """Turns the observation's tensors into action rows."""

    def reset(self) -> None:
        """Forget what was decoded before; most decoders remember nothing."""
        return

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Return the actions in the network's unit, shape (T, A).

        Args:
            graphs: The bundle's graphs.
            inputs: What the observation gives, by graph input.
            noise: Where a sampler takes its noise from.
            prefix: What will be played meanwhile, for a decoder that steers by it.

        Raises:
            InferenceError: If an output does not have the right shape.
        """
        ...

# SPDX-License-Identifier: Apache-2.0
"""Several decoders side by side: HIL-SERL's Gaussian arm and its discrete gripper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.graph_outputs import encoded
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray


@dataclass(frozen=True, slots=True)
class ConcatenatedDecoder(Decoder):
    """Run `encode` once, if there is one, and put the actions of all decoders side by side.

    Attributes:
        decoders: In the order of the action's columns, all of the same T and without an `encode`
            of their own.
        encode: Whether there is an `encode` graph; its outputs go to all decoders.
    """

    decoders: tuple[Decoder, ...]
    encode: bool = False

    def reset(self) -> None:
        """Forget what was decoded before."""
        for decoder in self.decoders:
            decoder.reset()

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Return the columns of all decoders; see `Decoder`. None of them steers by a prefix."""
        del prefix
        feed = encoded(graphs, inputs, encode=self.encode)
        shared = _SharedRuns(graphs)
        return np.concatenate(
            [decoder.decode(shared, feed, noise, None) for decoder in self.decoders], axis=1
        )


class _SharedRuns:
    """Graphs of which none runs twice on the very same inputs, as two outputs of one graph need.

    Only a decoder that runs a graph on what the observation gives passes those inputs on as they
    are, so a sampler's steps are never mistaken for each other.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._runs: dict[str, tuple[Tensors, Tensors]] = {}

    def run(self, role: str, inputs: Tensors) -> Tensors:
        """See `Graphs.run`."""
        known = self._runs.get(role)
        if known is not None and known[0] is inputs:
            return known[1]
        outputs = self._graphs.run(role, inputs)
        self._runs[role] = (inputs, outputs)
        return outputs

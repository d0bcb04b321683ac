# SPDX-License-Identifier: Apache-2.0
"""A Gaussian actor: SAC, CQL, HIL-SERL, behaviour cloning with a distribution head.

`tanh(mean)` when deterministic, else `tanh(mean + exp(log_std) noise)`; `log_std` is clamped
first. The bounds differ: -20 and 2 in stable-baselines3, -5 and 2 in rlkit and CQL
(`rlkit/torch/sac/policies.py`), log(1e-5) and log(10) in HIL-SERL (`actor_critic_nets.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.direct import direct_shapes
from levine_policy_node.core.decoders.graph_outputs import STEP, encoded, taken
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray


@dataclass(frozen=True, slots=True)
class GaussianDecoder(Decoder):
    """Take the mean of a Gaussian, or draw from it.

    Attributes:
        rows: T.
        columns: A.
        mean: Name of the output, shape (1, T, A), or (1, A) when T is 1.
        log_std: Name of the output of the same shape; None for a deterministic actor.
        squash: Whether tanh is applied.
        clamp: Bounds of `log_std`.
        role: Graph that is run.
        encode: Whether there is an `encode` graph; its outputs go to the graph by name.
    """

    rows: int
    columns: int
    mean: str
    log_std: str | None = None
    squash: bool = True
    clamp: tuple[float, float] = (-20.0, 2.0)
    role: str = STEP
    encode: bool = False

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Return the mean or a draw; see `Decoder`."""
        del prefix
        outputs = graphs.run(self.role, encoded(graphs, inputs, encode=self.encode))
        shapes = direct_shapes(self.rows, self.columns)
        actions = taken(outputs, self.mean, *shapes)[0].astype(np.float64)
        if self.log_std is not None:
            log_std = taken(outputs, self.log_std, *shapes)[0].astype(np.float64)
            actions = actions + np.exp(np.clip(log_std, *self.clamp)) * noise.draw(actions.shape)
        return np.tanh(actions) if self.squash else actions

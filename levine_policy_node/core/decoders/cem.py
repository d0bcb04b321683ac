# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy method: candidates, the best of them, new candidates around those.

Over a Q-function with a horizon of one action this is QT-Opt (2 iterations, 64 candidates, 6
elites); over a video model it is visual foresight (3 iterations, 200 to 600 candidates, at least
10 elites, full covariance, each action held for some rows; `cem_base_controller.py` and
`gaussian_sampler.py`). Both play the best candidate of the last iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from levine_policy_node.core.cem_sampling import ActionGaussian, Covariance, fitted
from levine_policy_node.core.decoders.candidates import Evaluation, Plan
from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.graph_outputs import encoded
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CemDecoder(Decoder):
    """Run `encode` once, if there is one, and `step` on the candidates of every iteration.

    Attributes:
        rows: T, at most the horizon.
        horizon: Rows that are planned; a multiple of `repeat`.
        evaluation: The graph that says what candidates are worth.
        samples: Candidates per iteration.
        elites: Best candidates that the next iteration's Gaussian is fitted to.
        iterations: At least one.
        mean: Where the first candidates are centred, shape (A,).
        std: How far they spread, shape (A,).
        bounds: Least and largest value of every column, both of shape (A,); None for none.
        repeat: Rows that every action is held.
        covariance: Whether values are refitted on their own or with their covariance.
        reuse: Rows played between two inferences, to begin around what is left of the last plan
            (`reuse_mean`); None to begin anew. The number of candidates stays the same.
        encode: Whether there is an `encode` graph; its outputs go to `step` by name.
        plan: What is remembered for `reuse`.
    """

    rows: int
    horizon: int
    evaluation: Evaluation
    samples: int
    elites: int
    iterations: int
    mean: FloatArray
    std: FloatArray
    bounds: tuple[FloatArray, FloatArray] | None = None
    repeat: int = 1
    covariance: Covariance = "diagonal"
    reuse: int | None = None
    encode: bool = False
    plan: Plan = field(default_factory=Plan)

    def reset(self) -> None:
        """Forget the last plan."""
        self.plan.rows = None

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Search for the best action sequence; see `Decoder`."""
        del prefix
        feed = encoded(graphs, inputs, encode=self.encode)
        held = self.horizon // self.repeat
        gaussian = ActionGaussian(self._start(held), np.tile(self.std, held))
        best = gaussian.mean
        for _ in range(self.iterations):
            actions = gaussian.samples(noise.draw((self.samples, held, len(self.mean))))
            if self.bounds is not None:
                actions = np.clip(actions, *self.bounds)
            candidates = np.repeat(actions, self.repeat, axis=1)
            rewards = self.evaluation.rewards(graphs, feed, candidates)
            order = np.argsort(-rewards, kind="stable")
            best = actions[order[0]]
            gaussian = fitted(actions[order[: self.elites]], self.covariance)
        plan = np.repeat(best, self.repeat, axis=0)
        if self.reuse is not None:
            self.plan.rows = plan
        return plan[: self.rows]

    def _start(self, held: int) -> FloatArray:
        """Mean of the first candidates, shape (held, A)."""
        start = np.tile(self.mean, (held, 1))
        if self.reuse is not None and self.plan.rows is not None:
            left = self.plan.rows[min(self.reuse, self.horizon - 1) :: self.repeat]
            start[: len(left)] = left
        return start

# SPDX-License-Identifier: Apache-2.0
"""Model-predictive path integral control: the mean of candidates, weighted by what they are worth.

As PDDM does it (`google-research/pddm`, `pddm/policies/mppi.py`): candidates follow the last plan
with noise that is smoothed over time, and weights are `exp(kappa (reward - best reward))`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from levine_policy_node.core.decoders.candidates import Evaluation, Plan
from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.graph_outputs import encoded
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import InferenceError


@dataclass(frozen=True, slots=True, eq=False)
class MppiDecoder(Decoder):
    """Run `encode` once, if there is one, and `step` on all candidates.

    Attributes:
        rows: T, at most the horizon.
        horizon: Rows that are planned.
        evaluation: The graph that says what candidates are worth.
        samples: Candidates.
        kappa: Sharpness of the weights, the inverse of the temperature.
        std: Of the noise, shape (A,).
        beta: Share of the new action in the smoothed one; the rest is the row before, and for the
            first row the action that was played last. 1 for no smoothing.
        shift: Rows played between two inferences; the plan moves on by as many.
        bounds: Least and largest value of every column, both of shape (A,); None for none.
        encode: Whether there is an `encode` graph; its outputs go to `step` by name.
        plan: What is remembered from one inference to the next.
    """

    rows: int
    horizon: int
    evaluation: Evaluation
    samples: int
    kappa: float
    std: FloatArray
    beta: float = 1.0
    shift: int = 1
    bounds: tuple[FloatArray, FloatArray] | None = None
    encode: bool = False
    plan: Plan = field(default_factory=Plan)

    def reset(self) -> None:
        """Forget the last plan."""
        self.plan.rows = None

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Improve the plan; see `Decoder`."""
        del prefix
        feed = encoded(graphs, inputs, encode=self.encode)
        played, mean = self._moved_on()
        candidates = self.candidates(noise, played, mean)
        rewards = self.evaluation.rewards(graphs, feed, candidates)
        best = rewards.max()
        if not np.isfinite(best):
            raise InferenceError(f"output {self.evaluation.value}: no candidate is worth anything")
        weights = np.exp(self.kappa * (rewards - best))
        plan = np.tensordot(weights, candidates, axes=1) / weights.sum()
        self.plan.rows = plan
        return plan[: self.rows]

    def candidates(self, noise: Noise, played: FloatArray, mean: FloatArray) -> FloatArray:
        """Draw action sequences around `mean` (H, A) that go on from `played` (A,): (N, H, A)."""
        shape = (self.samples, self.horizon, len(self.std))
        rows = self.beta * (mean + noise.draw(shape) * self.std)
        rows[:, 0] += (1.0 - self.beta) * played
        for row in range(1, self.horizon):
            rows[:, row] += (1.0 - self.beta) * rows[:, row - 1]
        return rows if self.bounds is None else np.clip(rows, *self.bounds)

    def _moved_on(self) -> tuple[FloatArray, FloatArray]:
        """The action that was played last, and the plan from now on, its last row held."""
        if self.plan.rows is None:
            return np.zeros(len(self.std)), np.zeros((self.horizon, len(self.std)))
        last = self.horizon - 1
        played = self.plan.rows[min(self.shift - 1, last)]
        return played, self.plan.rows[np.minimum(np.arange(self.horizon) + self.shift, last)]

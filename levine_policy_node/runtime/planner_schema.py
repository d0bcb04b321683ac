# SPDX-License-Identifier: Apache-2.0
"""Decoders of `policy.yaml` that search: a graph says what candidate actions are worth."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from levine_policy_node.runtime.graph_schema import TensorName
from levine_policy_node.runtime.image_schema import Positive
from levine_policy_node.runtime.observation_schema import Numbers
from levine_policy_node.strict_model import Strict

Count = Annotated[int, Field(ge=1, le=100_000)]

# Names that leave no doubt which way is better.
_COSTS = ("cost", "costs", "energy")
_REWARDS = ("q", "q_value", "q_values", "reward", "rewards", "return")


class Planner(Strict):
    """What both planners share.

    Attributes:
        samples: Candidates per iteration.
        horizon: Rows that are planned, chunk.size unless given; the first chunk.size are played.
        dim: Columns of the action.
        std: Spread of candidates, for all columns or each.
        bounds: Least and largest value, each for all columns or each; null for none.
        batch: Candidates per run of the graph.
        action: Input of `step` for candidates, (N, H, A), or (N, A) with a horizon of 1.
        value: Output of `step`, (N,) or (N, 1).
        maximize: Whether more is better; follows from a `value` of a usual name.
    """

    samples: Count
    horizon: Positive | None = None
    dim: Positive | None = None
    std: Numbers
    bounds: Annotated[tuple[Numbers, Numbers], Field(strict=False)] | None = None
    batch: Count | None = None
    action: TensorName = "action"
    value: TensorName
    maximize: bool | None = None

    @property
    def columns(self) -> int | None:
        """A, if it is given."""
        return self.dim

    @property
    def better_is_more(self) -> bool:
        """Whether candidates of a larger value are better."""
        return self.value in _REWARDS if self.maximize is None else self.maximize

    @model_validator(mode="after")
    def _check_planner(self) -> Planner:
        if self.maximize is None and self.value not in {*_COSTS, *_REWARDS}:
            raise ValueError(
                f"say maximize: true or false; the name '{self.value}' does not tell whether it "
                "is a cost"
            )
        return self

    def check_columns(self, columns: int) -> None:
        """Refuse lists of another length.

        Raises:
            ValueError: If a list is not as long as there are columns.
        """
        low, high = self.bounds or (0.0, 0.0)
        given = {"std": self.std, "bounds[0]": low, "bounds[1]": high}
        if isinstance(self, CemDecoder):
            given["mean"] = self.mean
        for name, value in given.items():
            if isinstance(value, tuple) and len(value) != columns:
                raise ValueError(f"decoder: {name} has {len(value)} values for {columns} columns")


class CemDecoder(Planner):
    """Candidates, the best of them, new candidates around those.

    Attributes:
        elites: Best candidates that the next ones are fitted to.
        iterations: How often.
        repeat: Rows that every action is held.
        mean: Centre of the first candidates, for all columns or each.
        covariance: Refitted per value (`diagonal`, for a horizon of 1) or in `full` (for more).
        reuse_mean: Whether a search begins around what is left of the last plan.
    """

    type: Literal["cem"]
    elites: Positive
    iterations: Annotated[int, Field(ge=1, le=100)]
    repeat: Positive = 1
    mean: Numbers = 0.0
    covariance: Literal["diagonal", "full"] | None = None
    reuse_mean: bool = False

    @model_validator(mode="after")
    def _check(self) -> CemDecoder:
        if not 2 <= self.elites <= self.samples:
            raise ValueError(f"elites {self.elites} must be 2 to samples {self.samples}")
        return self


class MppiDecoder(Planner):
    """The mean of candidates, weighted by what they are worth.

    Attributes:
        temperature: Weights are `exp((value - best) / temperature)`.
        noise_beta: Share of a new action in the smoothed candidate; 1 for no smoothing.
    """

    type: Literal["mppi"]
    temperature: Annotated[float, Field(gt=0.0)]
    noise_beta: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0

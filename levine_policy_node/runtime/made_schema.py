# SPDX-License-Identifier: Apache-2.0
"""The parts of `policy.yaml` about graph inputs that nothing measures: the runtime makes them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from levine_policy_node.runtime.history_schema import History
from levine_policy_node.runtime.image_schema import Positive
from levine_policy_node.strict_model import Strict

PolicyKind = Literal[
    "policy/noise",
    "policy/action_prefix",
    "policy/inference_delay",
    "policy/execution_horizon",
    "policy/max_guidance_weight",
]
POLICY_KINDS: tuple[PolicyKind, ...] = get_args(PolicyKind)


class ReturnToGo(Strict):
    """The return that is still to be collected (Decision Transformer), (1, 1) or (1, steps, 1).

    Attributes:
        target: The return asked for at the beginning, in the unit of the rewards.
        reward: What each period is taken to have given; 0 for rewards that come at the end.
        scale: The network sees the return times this.
    """

    kind: Literal["policy/return_to_go"]
    target: Annotated[float, Field(allow_inf_nan=False)]
    reward: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    history: History | None = None
    tensor: str | None = None


class Timestep(Strict):
    """Periods since the policy took over, (1, 1) or (1, steps).

    Attributes:
        last: The largest the network knows (`max_ep_len - 1`); it stays there.
        dtype: What the graph declares, checked if given.
    """

    kind: Literal["policy/timestep"]
    last: Positive
    dtype: Literal["float32", "int32", "int64"] | None = None
    history: History | None = None
    tensor: str | None = None


class PolicyInput(Strict):
    """A graph input that the runtime makes.

    Attributes:
        kind: `policy/noise`: standard normal, (1, T, dim). `policy/action_prefix`: what will be
            played meanwhile in the network's unit, (1, T, dim), zero beyond what is known.
            `policy/inference_delay`: how many rows of it will have been played, () or (1,).
            `policy/execution_horizon` and `policy/max_guidance_weight`: of `chunk.rtc`, () or
            (1,); the horizon is at most the known rows.
        dim: Columns; those of the action unless given, which may be more (padding).
        dtype: What the graph declares, checked if given.
        tensor: Graph input name when it differs from the key.
    """

    kind: PolicyKind
    dim: Positive | None = None
    dtype: Literal["float32", "int32", "int64"] | None = None
    tensor: str | None = None

# SPDX-License-Identifier: Apache-2.0
"""The `history` part of an observation: how many moments a graph sees, and how they lie."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from levine_policy_node.core.history_axis import Axis, Pad
from levine_policy_node.runtime.graph_schema import TensorName
from levine_policy_node.strict_model import Strict

MAX_STEPS = 256


class HistorySpec(Strict):
    """Moments one period (`1 / rate`) apart, oldest first.

    Attributes:
        steps: How many, the present one included.
        axis: `time`: an axis after the batch's. `channel`: along an image's channels. `flat`:
            along a vector.
        pad: Before the first observation stands the first again, or zero.
        mask: Graph input (1, steps) that is 1 where nothing is padded.
        order: With `flat` and several terms, whether each moment's terms lie together (`moment`)
            or each term's moments (`term`).
    """

    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    axis: Axis = "time"
    pad: Pad = "repeat"
    mask: TensorName | None = None
    order: Literal["moment", "term"] | None = None

    @model_validator(mode="after")
    def _check(self) -> HistorySpec:
        if self.order is not None and self.axis != "flat":
            raise ValueError("order belongs to axis: flat")
        return self


def _steps(value: object) -> object:
    """`history: 2` is `history: {steps: 2}`."""
    return {"steps": value} if isinstance(value, int) else value


History = Annotated[HistorySpec, BeforeValidator(_steps)]

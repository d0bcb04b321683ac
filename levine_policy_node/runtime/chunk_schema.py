# SPDX-License-Identifier: Apache-2.0
"""The part of `policy.yaml` that says how chunks become one motion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from levine_policy_node.runtime.graph_schema import RtcSpec
from levine_policy_node.runtime.image_schema import Positive
from levine_policy_node.strict_model import Strict

_MAX_HOLD_S = 1.0


class ChunkSpec(Strict):
    """How many rows the graph predicts, which are used, and when to predict again.

    Attributes:
        size: Rows the graph returns.
        execute: Rows played before the next observation is asked for, with `replan: every`.
        start: First row that belongs to the future.
        hold: How long the last row stays the target after its time [s].
        replan: When to infer: after `execute` rows, `at_once` when the last inference is done, or
            when what is left to play falls below `threshold_s`.
        threshold_s: See `replan` [s].
        merge: How a chunk joins the one before it; `rtc` if its section is given, `ensemble` if
            a coefficient is, else `blend`.
        ensemble: Coefficient k of an ACT ensemble, with weights exp(-k i), i = 0 the oldest.
        smoothing: Standard deviation of the zero-phase smoothing of each chunk [s].
        rtc: How the policy continues what is being played.
    """

    size: Positive = 1
    execute: Positive = 1
    start: Annotated[int, Field(ge=0)] = 0
    hold: Annotated[float, Field(ge=0.0, le=_MAX_HOLD_S)] = 0.0
    replan: Literal["every", "at_once", "threshold"] = "every"
    threshold_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    merge: Literal["replace", "blend", "ensemble", "rtc"] | None = None
    ensemble: Annotated[float, Field(allow_inf_nan=False)] | None = None
    smoothing: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    rtc: RtcSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> ChunkSpec:
        if self.start + self.execute > self.size:
            raise ValueError(
                f"start {self.start} + execute {self.execute} is more than size {self.size}"
            )
        if (self.replan == "threshold") != (self.threshold_s is not None):
            raise ValueError("threshold_s and replan: threshold belong together")
        if self.ensemble is not None and self.merge not in {None, "ensemble"}:
            raise ValueError(f"merge {self.merge} does not use the coefficient in ensemble")
        if self.rtc is not None and self.ensemble is not None and self.merge is None:
            raise ValueError("ensemble and rtc are both given; choose one with merge")
        if self.rtc is not None and (self.rtc.max_delay or 0) >= self.size:
            raise ValueError(f"rtc.max_delay {self.rtc.max_delay} must be below size {self.size}")
        return self

    @model_validator(mode="after")
    def _check_hold(self) -> ChunkSpec:
        continued = self.merge in {"ensemble", "rtc"} or self.rtc or self.ensemble is not None
        if self.hold > 0.0 and continued:
            raise ValueError(
                "hold is for policies that give a target at a time; an ensemble or rtc would take "
                "a target that only stands for one that was predicted"
            )
        return self

# SPDX-License-Identifier: Apache-2.0
"""The part of `policy.yaml` that says that a policy is told a place."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from levine_policy_node.strict_model import Strict


class GoalTerm(Strict):
    """Where the hand is to be [m], as told on the topic `goal`.

    Attributes:
        frame: What it is in; a goal in another frame is refused.
        dim: Its columns.
    """

    kind: Literal["command/body/position"]
    frame: Annotated[str, Field(min_length=1, max_length=200)]
    dim: Literal[3] = 3

    @property
    def names(self) -> tuple[str, ...]:
        """No joint is observed."""
        return ()

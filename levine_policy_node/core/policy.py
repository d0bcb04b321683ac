# SPDX-License-Identifier: Apache-2.0
"""What the runtime needs of any policy: observations in, chunks out."""

from __future__ import annotations

from typing import Protocol

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.observation import Observation


class Policy(Protocol):
    """One loaded policy. All methods are called from one thread."""

    @property
    def source(self) -> str:
        """Who commands, `policy:<name>@<hash8>`."""
        ...

    @property
    def graph_s(self) -> float:
        """Time the last inference spent inside its graphs [s]."""
        ...

    def reset(self) -> None:
        """Forget everything seen so far; called before the policy takes over the arm."""
        ...

    def infer(self, observation: Observation, prefix: ActionPrefix | None = None) -> ActionChunk:
        """Predict joint targets, in the joint order of the robot file.

        Args:
            observation: What the policy sees.
            prefix: What will be played meanwhile, for a policy that continues it (real-time
                chunking); the chunk then says for which delay it is. Others ignore it.

        Raises:
            InferenceError: If the output is unusable; there is no chunk then.
            ObservationError: If the observation lacks something the policy needs.
        """
        ...

    def close(self) -> None:
        """Free what the policy holds; safe to call twice."""
        ...

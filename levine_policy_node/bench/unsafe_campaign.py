# SPDX-License-Identifier: Apache-2.0
"""What campaigns have in common that judge what is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from levine_policy_node.bench.unsafe_oracle import BEYOND, Bounds, Verdict
from levine_policy_node.core.limits import JointLimits


@dataclass
class Judged:
    """What a campaign has judged so far.

    Attributes:
        sequences: Sequences that were run.
        verdicts: By robot.
        seconds: Processor time it took [s].
    """

    ADDED: ClassVar[tuple[str, ...]] = ("sequences", "seconds")
    """What is added up where two parts of a campaign come together."""

    sequences: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict[str, Verdict])
    seconds: float = 0.0

    @property
    def whole(self) -> Verdict:
        """All robots together."""
        whole = Verdict()
        for verdict in self.verdicts.values():
            whole.merge(verdict)
        return whole

    @property
    def summary(self) -> str:
        """For people."""
        return f"{self.sequences} sequences"

    def merge(self, other: Judged) -> None:
        """Add what another part of the same campaign judged."""
        for name in self.ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, verdict in other.verdicts.items():
            self.verdicts.setdefault(name, Verdict()).merge(verdict)

    def results(self) -> dict[str, Any]:
        """Figures for JSON."""
        return {
            "sequences": self.sequences,
            **_figures(self.whole),
            "allowed_beyond_limit": BEYOND,
            "sequences_per_s": round(self.sequences / self.seconds, 1) if self.seconds else 0.0,
            "robots": {name: _figures(verdict) for name, verdict in self.verdicts.items()},
        }


def bounds_of(limits: JointLimits) -> Bounds:
    """The limits of an arm, as the judge takes them."""
    return Bounds(limits.lower, limits.upper, limits.velocity, limits.acceleration, limits.jerk)


def _figures(verdict: Verdict) -> dict[str, Any]:
    worst = {k: (None if np.isinf(v) and v < 0 else v) for k, v in verdict.worst.items()}
    return {
        "commands": verdict.commands,
        "windows": verdict.windows,
        "unsafe": verdict.unsafe,
        "worst_excess": worst,
        "first": verdict.first,
    }

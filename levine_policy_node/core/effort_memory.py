# SPDX-License-Identifier: Apache-2.0
"""What the supervisor remembers of an arm that takes efforts."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.units import BOOT, FloatArray, SteadyNs


@dataclass(frozen=True, slots=True)
class Pushing:
    """What is remembered between ticks.

    Attributes:
        rows: The policy's newest efforts.
        sent: The newest efforts that were sent; the robot pushes with them until its timeout.
        sent_ns: When they were.
        loose: Whether the arm was pushed and has not come to rest since.
    """

    rows: EffortTimeline[SteadyNs] | None = None
    sent: FloatArray | None = None
    loose: bool = False
    sent_ns: SteadyNs = BOOT

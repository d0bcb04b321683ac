# SPDX-License-Identifier: Apache-2.0
"""The memory of the supervisor's watchdogs."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.core.surroundings import NO_VERDICTS, ControllerMemory
from levine_policy_node.core.units import BOOT, FloatArray, SteadyNs


@dataclass(frozen=True, slots=True)
class Watch:
    """What the watchdogs remember between ticks.

    Attributes:
        count: Newest inference count.
        advanced_ns: When it last changed.
        tracking_since_ns: Since when the arm has been too far away, None if it is not.
        bad_chunks: Unusable chunks in a row.
        starving_ns: Since when the plan has been over in POLICY, None if it is not.
        controller: What the controller said it commands, compared with what it was sent.
        seen: Newest measured positions, (J,).
        seen_ns: When they were first seen.
    """

    count: int = -1
    advanced_ns: SteadyNs = BOOT
    tracking_since_ns: SteadyNs | None = None
    bad_chunks: int = 0
    starving_ns: SteadyNs | None = None
    controller: ControllerMemory = NO_VERDICTS
    seen: FloatArray | None = None
    seen_ns: SteadyNs = BOOT


NOTHING_WATCHED = Watch()

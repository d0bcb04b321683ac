# SPDX-License-Identifier: Apache-2.0
"""What an operator's device asks the supervisor for, from its dead-man and its buttons.

A press asks for the takeover, again and again until it is granted: the arm may still be stopping.
A release makes the arm stand, and nothing but an act of the person hands back. A press is good for
one takeover: who was stopped, or has handed back, lets go first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Act(Enum):
    """What a device may ask for; the value is the supervisor's service and what is sent to it."""

    TAKEOVER = "takeover"
    HANDBACK = "handback"
    PAUSE = "pause"
    STOP = "stop"


HUMAN = "HUMAN"
_TAKEN_FROM = frozenset({"ARMED", "PAUSED", "POLICY"})


@dataclass(frozen=True, slots=True)
class DeadMan:
    """What is remembered of a press.

    Attributes:
        held: Whether the dead-man is pressed.
        wanting: Whether this press still asks for its takeover.
        leading: Whether it was granted, and the arm is still this device's.
    """

    held: bool = False
    wanting: bool = False
    leading: bool = False

    def next(
        self, *, held: bool, mode: str, acts: frozenset[Act] = frozenset()
    ) -> tuple[DeadMan, Act | None]:
        """Look at the device once more.

        Args:
            held: Whether the dead-man is pressed; false if the device is gone.
            mode: What `supervisor/mode` said last.
            acts: What else the person asks for.

        Returns:
            What to remember, and what to ask the supervisor for now.
        """
        if Act.STOP in acts:
            return DeadMan(held), Act.STOP
        if not held:
            # Also where the takeover was asked for and its answer is still on the way.
            mine = self.leading or self.wanting
            return DeadMan(), Act.PAUSE if mine and mode == HUMAN else None
        wanting = self.wanting or not self.held
        leading = self.leading
        if mode == HUMAN:
            wanting, leading = False, leading or wanting
        elif leading:
            leading = False
        now = replace(self, held=True, wanting=wanting, leading=leading)
        if leading and Act.HANDBACK in acts:
            return now, Act.HANDBACK
        if leading and Act.PAUSE in acts:
            return now, Act.PAUSE
        return now, Act.TAKEOVER if wanting and mode in _TAKEN_FROM else None

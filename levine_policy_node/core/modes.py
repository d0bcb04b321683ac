# SPDX-License-Identifier: Apache-2.0
"""Modes of the supervisor, and the only table that changes them.

Rules:
  * Everything that changes the mode is in this file, and it is data.
  * Motion happens in POLICY, HUMAN and STOPPING only. It ends through STOPPING or in a latch.
  * STOPPING has a target; the target only ever becomes more severe, and nothing but standstill
    leaves it (an emergency stop and an overdue stop excepted, which are worse).
  * PSTOP, FAULT and ESTOP latch: only RESET leaves them, towards DISARMED.
  * From boot or a latch to motion take two deliberate acts, ARM and then another.
  * An event a mode has no row for changes nothing. For an operator's act that is a refusal.
Whether an act is permitted beyond that (a live policy, an arm at rest, ...) is in `permits.py`;
which fault demands which stop is in `faults.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """What the supervisor is doing; the value is what `supervisor/mode` says."""

    INIT = "INIT"
    DISARMED = "DISARMED"
    ARMED = "ARMED"
    POLICY = "POLICY"
    HUMAN = "HUMAN"
    STOPPING = "STOPPING"
    PAUSED = "PAUSED"
    PSTOP = "PSTOP"
    FAULT = "FAULT"
    ESTOP = "ESTOP"


class Event(Enum):
    """What may change the mode."""

    # The supervisor itself.
    READY = "self-test passed"
    STANDSTILL = "the arm stands"
    FINISHED = "the motion is finished"
    ABANDONED = "no policy for too long"
    OVERDUE = "the stop takes too long"
    # The operator, through services.
    ARM = "arm"
    DISARM = "disarm"
    ENGAGE = "engage"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    RESET = "reset"
    HOME = "home"
    TAKEOVER = "takeover"
    HANDBACK = "handback"
    # Faults, by the stop they demand.
    DEMAND_PAUSE = "a fault that pauses"
    DEMAND_PSTOP = "a fault that stops"
    DEMAND_FAULT = "a fault of the system"
    DEMAND_ESTOP = "emergency stop"


ACTS = frozenset(
    {
        Event.ARM,
        Event.DISARM,
        Event.ENGAGE,
        Event.PAUSE,
        Event.RESUME,
        Event.STOP,
        Event.RESET,
        Event.HOME,
        Event.TAKEOVER,
        Event.HANDBACK,
    }
)
DEMANDS = frozenset(
    {Event.DEMAND_PAUSE, Event.DEMAND_PSTOP, Event.DEMAND_FAULT, Event.DEMAND_ESTOP}
)

ACTIVE = frozenset({Mode.POLICY, Mode.HUMAN})
MOVING = ACTIVE | {Mode.STOPPING}
STANDING = frozenset({Mode.ARMED, Mode.PAUSED})
LATCHED = frozenset({Mode.PSTOP, Mode.FAULT, Mode.ESTOP})
ENERGISED = MOVING | STANDING
"""Modes in which the supervisor answers for the arm."""

COMMANDING = ENERGISED | {Mode.PSTOP}
"""Modes in which something is sent to the controller."""

STOP_ORDER = (Mode.PAUSED, Mode.DISARMED, Mode.PSTOP, Mode.FAULT, Mode.ESTOP)
"""Targets of STOPPING, from the mildest to the most severe."""


@dataclass(frozen=True, slots=True)
class ModeState:
    """A mode, with the target where it is STOPPING."""

    mode: Mode
    target: Mode | None = None

    def __str__(self) -> str:
        return f"{self.mode.value}({self.target.value})" if self.target else self.mode.value


def _to(mode: Mode) -> ModeState:
    return ModeState(mode)


def _stop(target: Mode) -> ModeState:
    return ModeState(Mode.STOPPING, target)


TRANSITIONS: Mapping[tuple[Mode, Event], ModeState] = {
    (Mode.INIT, Event.READY): _to(Mode.DISARMED),
    (Mode.INIT, Event.DEMAND_ESTOP): _to(Mode.ESTOP),
    (Mode.DISARMED, Event.ARM): _to(Mode.ARMED),
    (Mode.DISARMED, Event.DISARM): _to(Mode.DISARMED),
    (Mode.DISARMED, Event.STOP): _to(Mode.PSTOP),
    (Mode.DISARMED, Event.DEMAND_FAULT): _to(Mode.FAULT),
    (Mode.DISARMED, Event.DEMAND_ESTOP): _to(Mode.ESTOP),
    (Mode.ARMED, Event.ENGAGE): _to(Mode.POLICY),
    (Mode.ARMED, Event.HOME): _to(Mode.HUMAN),
    (Mode.ARMED, Event.TAKEOVER): _to(Mode.HUMAN),
    (Mode.PAUSED, Event.RESUME): _to(Mode.POLICY),
    (Mode.PAUSED, Event.HOME): _to(Mode.HUMAN),
    (Mode.PAUSED, Event.TAKEOVER): _to(Mode.HUMAN),
    (Mode.PAUSED, Event.PAUSE): _to(Mode.PAUSED),
    (Mode.PAUSED, Event.ABANDONED): _to(Mode.DISARMED),
    **{
        (mode, event): state
        for mode in (Mode.ARMED, Mode.PAUSED)
        for event, state in {
            Event.DISARM: _to(Mode.DISARMED),
            Event.STOP: _to(Mode.PSTOP),
            Event.DEMAND_PSTOP: _to(Mode.PSTOP),
            Event.DEMAND_FAULT: _to(Mode.FAULT),
            Event.DEMAND_ESTOP: _to(Mode.ESTOP),
        }.items()
    },
    (Mode.POLICY, Event.TAKEOVER): _to(Mode.HUMAN),
    (Mode.HUMAN, Event.HANDBACK): _to(Mode.POLICY),
    (Mode.HUMAN, Event.FINISHED): _stop(Mode.PAUSED),
    **{
        (mode, event): state
        for mode in (Mode.POLICY, Mode.HUMAN, Mode.STOPPING)
        for event, state in {
            Event.PAUSE: _stop(Mode.PAUSED),
            Event.DISARM: _stop(Mode.DISARMED),
            Event.STOP: _stop(Mode.PSTOP),
            Event.DEMAND_PAUSE: _stop(Mode.PAUSED),
            Event.DEMAND_PSTOP: _stop(Mode.PSTOP),
            Event.DEMAND_FAULT: _stop(Mode.FAULT),
            Event.DEMAND_ESTOP: _to(Mode.ESTOP),
        }.items()
    },
    (Mode.STOPPING, Event.OVERDUE): _to(Mode.FAULT),
    (Mode.PSTOP, Event.STOP): _to(Mode.PSTOP),
    (Mode.PSTOP, Event.RESET): _to(Mode.DISARMED),
    (Mode.PSTOP, Event.DEMAND_FAULT): _to(Mode.FAULT),
    (Mode.PSTOP, Event.DEMAND_ESTOP): _to(Mode.ESTOP),
    (Mode.FAULT, Event.STOP): _to(Mode.FAULT),
    (Mode.FAULT, Event.RESET): _to(Mode.INIT),
    (Mode.FAULT, Event.DEMAND_ESTOP): _to(Mode.ESTOP),
    (Mode.ESTOP, Event.STOP): _to(Mode.ESTOP),
    (Mode.ESTOP, Event.RESET): _to(Mode.DISARMED),
}

_ADVICE: Mapping[Mode, str] = {
    Mode.INIT: "the supervisor is still testing itself",
    Mode.DISARMED: "call supervisor/arm first",
    Mode.ARMED: "nothing moves; engage, home, takeover or disarm",
    Mode.PAUSED: "nothing moves; resume, home, takeover or disarm",
    Mode.POLICY: "the policy is moving the arm; pause it first",
    Mode.HUMAN: "a person is moving the arm; pause or hand back first",
    Mode.STOPPING: "the arm is stopping; wait until it stands",
    Mode.PSTOP: "a protective stop is latched; call supervisor/reset",
    Mode.FAULT: "a fault is latched; call supervisor/reset",
    Mode.ESTOP: "the emergency stop is latched; release it and call supervisor/reset",
}


def next_mode(current: ModeState, event: Event) -> ModeState | None:
    """The mode after `event`, or None if the present mode has no row for it."""
    if current.mode is Mode.STOPPING:
        if event is Event.STANDSTILL and current.target is not None:
            return ModeState(current.target)
        wanted = TRANSITIONS.get((current.mode, event))
        if wanted is None or wanted.target is None or current.target is None:
            return wanted
        return ModeState(Mode.STOPPING, max(wanted.target, current.target, key=STOP_ORDER.index))
    return TRANSITIONS.get((current.mode, event))


def refusal(current: ModeState, act: Event) -> str:
    """Why `act` is refused in this mode, for the reply to the operator."""
    return f"{act.value} is not possible in {current}: {_ADVICE[current.mode]}"

# SPDX-License-Identifier: Apache-2.0
"""Faults: which stop each one demands, where it counts, and what clears it.

Severity is an order and the worst fault wins. The table is data; how each fault is noticed is in
`watchdogs.py`. A fault is latched from the tick it is seen until its clear condition is met.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

from levine_policy_node.core.modes import ACTIVE, ENERGISED, MOVING, Event, Mode


class Severity(IntEnum):
    """What a fault demands; further down takes precedence."""

    NOTICE = 0
    PAUSE = 1
    PSTOP = 2
    FAULT = 3
    ESTOP = 4


DEMAND: Mapping[Severity, Event] = {
    Severity.PAUSE: Event.DEMAND_PAUSE,
    Severity.PSTOP: Event.DEMAND_PSTOP,
    Severity.FAULT: Event.DEMAND_FAULT,
    Severity.ESTOP: Event.DEMAND_ESTOP,
}


class Clears(Enum):
    """When a latched fault is forgotten; never while its cause is still seen."""

    WHEN_GONE = "when the cause is gone"
    ON_MODE_CHANGE = "with the next mode"
    ON_RESET = "by supervisor/reset"
    NEVER = "by restarting the supervisor"


class Fault(Enum):
    """Everything the supervisor stops for."""

    ESTOP_PRESSED = "emergency stop pressed"
    ESTOP_SILENT = "emergency stop line is silent"
    JOINT_STATES_LOST = "joint states are late"
    TRACKING = "the arm does not follow"
    RUNS_AWAY = "the arm is pushed beyond its limits"
    POLICY_LOST = "the policy is silent"
    POLICY_STALLED = "the policy does not infer"
    STARVED = "no chunk came in time"
    BAD_CHUNKS = "unusable chunks in a row"
    BLOCKED = "the policy's way is blocked"
    CONTACT = "the arm pushes against something"
    OPERATOR_LOST = "the operator's target is late"
    FOREIGN_PUBLISHER = "another publisher on the controller topic"
    CLOCK_STEPPED = "the ROS clock stepped"
    OVERRUN = "the supervisor itself was late"
    GATE_TRIPPED = "a command was refused at the last gate"
    STOP_OVERDUE = "the arm does not come to rest"
    OBSERVATION_BAD = "the policy says that it cannot go on"
    FOREIGN_WRITER = "the controller follows somebody else"
    COMMANDS_REFUSED = "the controller does not take what it is sent"
    CONTROLLER_LOST = "the controller is gone"
    MESSAGE_FLOOD = "a topic is flooded"
    JOINT_STATES_FROZEN = "joint states stand still while the arm is moved"
    ENABLE_LOST = "the cell does not permit motion"


_ALL = frozenset(Mode)


@dataclass(frozen=True, slots=True)
class Response:
    """What the supervisor does about a fault.

    Attributes:
        severity: Which stop it demands.
        clears: When it is forgotten.
        modes: Where it is looked for.
    """

    severity: Severity
    clears: Clears
    modes: frozenset[Mode] = ENERGISED


RESPONSES: Mapping[Fault, Response] = {
    Fault.ESTOP_PRESSED: Response(Severity.ESTOP, Clears.ON_RESET, _ALL),
    Fault.ESTOP_SILENT: Response(Severity.ESTOP, Clears.ON_RESET, _ALL),
    Fault.JOINT_STATES_LOST: Response(Severity.PSTOP, Clears.ON_RESET),
    Fault.TRACKING: Response(Severity.PSTOP, Clears.ON_RESET),
    Fault.RUNS_AWAY: Response(Severity.PSTOP, Clears.ON_RESET, frozenset({Mode.POLICY})),
    Fault.POLICY_LOST: Response(Severity.PAUSE, Clears.WHEN_GONE, frozenset({Mode.POLICY})),
    Fault.POLICY_STALLED: Response(Severity.PAUSE, Clears.WHEN_GONE, frozenset({Mode.POLICY})),
    Fault.STARVED: Response(Severity.PAUSE, Clears.ON_MODE_CHANGE, frozenset({Mode.POLICY})),
    Fault.BAD_CHUNKS: Response(Severity.PSTOP, Clears.ON_RESET, frozenset({Mode.POLICY})),
    Fault.BLOCKED: Response(Severity.PAUSE, Clears.ON_MODE_CHANGE, frozenset({Mode.POLICY})),
    # A person must be able to lead the arm out of it.
    Fault.CONTACT: Response(Severity.PAUSE, Clears.WHEN_GONE, frozenset({Mode.POLICY})),
    Fault.OPERATOR_LOST: Response(Severity.PAUSE, Clears.ON_MODE_CHANGE, frozenset({Mode.HUMAN})),
    Fault.FOREIGN_PUBLISHER: Response(Severity.FAULT, Clears.ON_RESET),
    Fault.CLOCK_STEPPED: Response(Severity.PSTOP, Clears.ON_RESET),
    Fault.OVERRUN: Response(Severity.PAUSE, Clears.ON_MODE_CHANGE, ACTIVE),
    # The shaper is meant never to produce what the gate refuses: a defect, not an incident.
    Fault.GATE_TRIPPED: Response(Severity.FAULT, Clears.NEVER),
    Fault.STOP_OVERDUE: Response(Severity.FAULT, Clears.ON_RESET, MOVING),
    Fault.OBSERVATION_BAD: Response(Severity.PAUSE, Clears.WHEN_GONE, frozenset({Mode.POLICY})),
    Fault.FOREIGN_WRITER: Response(Severity.FAULT, Clears.ON_RESET),
    Fault.COMMANDS_REFUSED: Response(Severity.FAULT, Clears.ON_RESET),
    Fault.CONTROLLER_LOST: Response(Severity.FAULT, Clears.ON_RESET),
    Fault.MESSAGE_FLOOD: Response(Severity.PSTOP, Clears.ON_RESET),
    Fault.JOINT_STATES_FROZEN: Response(Severity.PSTOP, Clears.ON_RESET),
    Fault.ENABLE_LOST: Response(Severity.PSTOP, Clears.ON_RESET),
}


def cleared(fault: Fault, *, seen: bool, mode_changed: bool, reset: bool) -> bool:
    """Whether a latched fault is forgotten now."""
    if seen:
        return False
    clears = RESPONSES[fault].clears
    return (
        clears is Clears.WHEN_GONE
        or (clears is Clears.ON_MODE_CHANGE and mode_changed)
        or (clears is Clears.ON_RESET and reset)
    )

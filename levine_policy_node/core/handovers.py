# SPDX-License-Identifier: Apache-2.0
"""Who had the arm when, and who ended it: read from the supervisor's events.

`supervisor/events` carries a status `MODE` per change, `"<old> -> <new>: <cause>"`, and in the
same message the faults that demanded it. From these follow, for each time that a policy lost the
arm, who triggered that and whether a person then drove. An emergency stop without a correction is
such a loss, too: rules that learn from corrections leave it out, others (RIFT) learn from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.message_bytes import Status

POLICY, HUMAN = "POLICY", "HUMAN"
MODE_EVENT = "MODE"
_ARROW = " -> "
_HOME_ACT = "operator: home"
_OPERATOR = "operator"


class Trigger(Enum):
    """Who or what took the arm from the policy; the value is what is stored."""

    HUMAN = "human"
    POLICY = "policy"
    SAFETY_FILTER = "safety_filter"
    WATCHDOG = "watchdog"
    ESTOP = "estop"
    UNKNOWN = "unknown"


# The rest are watchdogs. That the policy cannot see is what the policy itself says.
_TRIGGERS = {
    **dict.fromkeys((Fault.ESTOP_PRESSED, Fault.ESTOP_SILENT, Fault.ENABLE_LOST), Trigger.ESTOP),
    **dict.fromkeys((Fault.OBSERVATION_BAD,), Trigger.POLICY),
    **dict.fromkeys(
        (
            Fault.BAD_CHUNKS,
            Fault.BLOCKED,
            Fault.GATE_TRIPPED,
            Fault.RUNS_AWAY,
            Fault.TRACKING,
        ),
        Trigger.SAFETY_FILTER,
    ),
}


@dataclass(frozen=True, slots=True)
class ModeChange:
    """The supervisor entered a mode.

    Attributes:
        time_ns: When, on the ROS clock [ns].
        mode: The mode, without the target of a stop.
        cause: What the supervisor gives as the cause.
        trigger: Who or what brought it about.
    """

    time_ns: int
    mode: str
    cause: str = ""
    trigger: Trigger = Trigger.UNKNOWN

    @property
    def drives(self) -> bool:
        """Whether a person drives from here on; the `home` motion is nobody's."""
        return self.mode == HUMAN and self.cause != _HOME_ACT


@dataclass(frozen=True, slots=True)
class Intervention:
    """A time that a policy lost the arm.

    Attributes:
        onset_ns: When the policy lost it [ns].
        start_ns: When a person began to drive, None if nobody did.
        end_ns: When that was over, or the recording was; `onset_ns` if nobody drove.
        trigger: Who or what took the arm from the policy.
        reason: What the supervisor gave as the cause.
        then: Mode that followed, "" at the end of the recording.
    """

    onset_ns: int
    start_ns: int | None
    end_ns: int
    trigger: Trigger
    reason: str
    then: str = ""

    @property
    def corrected(self) -> bool:
        """Whether a person drove."""
        return self.start_ns is not None


def mode_changes(events: Iterable[tuple[int, Sequence[Status]]]) -> tuple[ModeChange, ...]:
    """Read the mode changes out of `supervisor/events`.

    Args:
        events: Stamp [ns] and statuses of each message, in order.
    """
    return tuple(
        _change(time_ns, status.message, statuses)
        for time_ns, statuses in events
        for status in statuses
        if status.name == MODE_EVENT and _ARROW in status.message
    )


def modes_alone(modes: Iterable[tuple[int, str]]) -> tuple[ModeChange, ...]:
    """The changes that `supervisor/mode` alone tells of: (time [ns], mode), in order.

    For recordings without events: causes and triggers are not known then.
    """
    found: list[ModeChange] = []
    for time_ns, mode in modes:
        if not found or found[-1].mode != mode:
            found.append(ModeChange(time_ns, mode))
    return tuple(found)


def losses(changes: Sequence[ModeChange], end_ns: int) -> tuple[Intervention, ...]:
    """Each time a policy lost the arm, in order.

    What a person drives before a policy has acted is a demonstration and no intervention. A
    person who takes over after a stop corrects what led to the stop, so both are one.

    Args:
        changes: In order; the first may be the mode that the recording begins in.
        end_ns: End of the recording [ns].
    """
    found: list[Intervention] = []
    lost: ModeChange | None = None
    driving: ModeChange | None = None
    acting = told = False
    for change in changes:
        if lost is not None and driving is not None and not change.drives:
            found.append(_corrected(lost, driving, change.time_ns, change.mode))
            driving, told = None, True
        if acting and change.mode != POLICY:
            lost, told = change, False
        if lost is not None and change.drives:
            driving = driving or change
        elif lost is not None and change.mode == POLICY:
            if not told:
                found.append(_stopped(lost, change.mode))
            lost = None
        acting = change.mode == POLICY
    if lost is not None and driving is not None:
        found.append(_corrected(lost, driving, end_ns, ""))
    elif lost is not None and not told:
        found.append(_stopped(lost, ""))
    return tuple(found)


def trigger_of_fault(name: str) -> Trigger:
    """Who or what a fault of the supervisor's table stands for."""
    if name not in Fault.__members__:
        return Trigger.UNKNOWN
    return _TRIGGERS.get(Fault[name], Trigger.WATCHDOG)


def _change(time_ns: int, text: str, statuses: Sequence[Status]) -> ModeChange:
    entered, _, cause = text.partition(_ARROW)[2].partition(": ")
    mode = entered.partition("(")[0]
    # A fault says "<what it is>: <evidence>", and the change gives the evidence as its cause.
    names = [s.name for s in statuses if s.name in Fault.__members__]
    told = [s.name for s in statuses if s.name in names and cause and s.message.endswith(cause)]
    if not told and cause.startswith(_OPERATOR):
        return ModeChange(time_ns, mode, cause, Trigger.HUMAN)
    name = next(iter(told or names), "")
    return ModeChange(time_ns, mode, cause, trigger_of_fault(name))


def _corrected(lost: ModeChange, driving: ModeChange, end_ns: int, then: str) -> Intervention:
    return Intervention(
        lost.time_ns, driving.time_ns, end_ns, lost.trigger, lost.cause or driving.cause, then
    )


def _stopped(lost: ModeChange, then: str) -> Intervention:
    return Intervention(lost.time_ns, None, lost.time_ns, lost.trigger, lost.cause, then)

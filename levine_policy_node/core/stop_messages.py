# SPDX-License-Identifier: Apache-2.0
"""A stop's ticks as the messages that were heard, decided and sent, for any MCAP reader.

Each message is logged at the time the supervisor took it or made it: the steady clock, put on the
ROS clock with one offset for the whole file, so that a clock that stepped does not disorder it.
What has no topic of its own (ages, lateness, faults) goes as JSON into `supervisor/ticks`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from levine_policy_node.core import message_bytes as messages
from levine_policy_node.core.cdr import Header
from levine_policy_node.core.faults import Severity
from levine_policy_node.core.message_bytes import Status
from levine_policy_node.core.tick_record import Motion, Sample, Tick
from levine_policy_node.core.units import StampNs

JOINT_STATES = "joint_states"
CHUNKS = "policy/action_chunk"
HEARTBEAT = "policy/heartbeat"
TARGET = "operator/target"
ESTOP = "estop"
MODE = "supervisor/mode"
COMMAND = "supervisor/command"
PROPOSAL = "supervisor/proposal"
EVENTS = "supervisor/events"
TICKS = "supervisor/ticks"
WINDOW = "window"

TYPES: Mapping[str, str] = {
    JOINT_STATES: messages.JOINT_STATE,
    CHUNKS: messages.JOINT_TRAJECTORY,
    HEARTBEAT: messages.UINT64,
    TARGET: messages.JOINT_STATE,
    ESTOP: messages.BOOL,
    MODE: messages.STRING,
    COMMAND: messages.JOINT_STATE,
    PROPOSAL: messages.JOINT_STATE,
    EVENTS: messages.DIAGNOSTIC_ARRAY,
    TICKS: messages.STRING,
    WINDOW: messages.JOINT_TRAJECTORY,
}

# Levels of diagnostic_msgs/DiagnosticStatus: OK, WARN, ERROR.
_LEVELS = {Severity.NOTICE: 0, Severity.PAUSE: 1}
_ERROR = 2


@dataclass(frozen=True, slots=True)
class Said:
    """One message: a topic of this module, when it was taken or made [ns], its bytes."""

    topic: str
    log_ns: int
    publish_ns: int
    data: bytes


class Narrator:
    """Turns ticks, in order, into messages; each input once, when it was new."""

    def __init__(self, joint_names: Sequence[str], offset_ns: int) -> None:
        """Begin a file.

        Args:
            joint_names: J names, the order of every array.
            offset_ns: ROS clock minus steady clock, for the whole file.
        """
        self._names = tuple(joint_names)
        self._offset_ns = offset_ns
        self._heard: dict[str, int | None] = {}
        self._mode = ""

    def messages(self, tick: Tick) -> Iterator[Said]:
        """What one tick heard, decided and sent."""
        yield from self._inputs(tick)
        due_ns = tick.due_ns
        for topic, sample in ((COMMAND, tick.command), (PROPOSAL, tick.proposal)):
            if sample is not None:
                yield self._said(topic, due_ns, self._joint_state(sample))
        if tick.window is not None:
            yield self._said(
                WINDOW, tick.sent_ns, self._trajectory(tick.window, tick.held_offset_ns)
            )
        if tick.mode != self._mode:
            self._mode = tick.mode
            yield self._said(MODE, due_ns, messages.string_bytes(tick.mode))
        if tick.occurrences:
            yield self._said(EVENTS, due_ns, self._events(tick))
        yield self._said(TICKS, due_ns, messages.string_bytes(json.dumps(_tick_document(tick))))

    def _inputs(self, tick: Tick) -> Iterator[Said]:
        if tick.measured is not None and self._is_new(JOINT_STATES, tick.measured.time_ns):
            data = self._joint_state(tick.measured)
            yield self._said(JOINT_STATES, tick.measured.time_ns, data)
        if tick.heartbeat is not None and self._is_new(HEARTBEAT, tick.heartbeat[1]):
            count, received_ns = tick.heartbeat
            yield self._said(HEARTBEAT, received_ns, messages.uint64_bytes(count))
        if tick.operator is not None and self._is_new(TARGET, tick.operator.time_ns):
            data = self._joint_state(tick.operator)
            yield self._said(TARGET, tick.operator.time_ns, data)
        pressed, heard_ns = tick.estop
        if heard_ns is not None and self._is_new(ESTOP, heard_ns):
            yield self._said(ESTOP, heard_ns, messages.bool_bytes(value=pressed))
        for chunk in tick.chunks:
            data = self._trajectory(chunk, 0)
            yield Said(CHUNKS, tick.due_ns + self._offset_ns, chunk.start_ns, data)

    def _is_new(self, topic: str, received_ns: int) -> bool:
        before, self._heard[topic] = self._heard.get(topic), received_ns
        return before != received_ns

    def _said(self, topic: str, time_ns: int, data: bytes) -> Said:
        log_ns = time_ns + self._offset_ns
        return Said(topic, log_ns, log_ns, data)

    def _joint_state(self, sample: Sample) -> bytes:
        header = Header(StampNs(sample.time_ns + self._offset_ns), sample.source)
        return messages.joint_state_bytes(
            self._names, header, sample.position, sample.velocity, sample.effort
        )

    def _trajectory(self, motion: Motion, offset_ns: int) -> bytes:
        header = Header(StampNs(motion.start_ns + offset_ns), motion.source)
        return messages.trajectory_rows_bytes(self._names, header, motion.times_s, motion.rows)

    def _events(self, tick: Tick) -> bytes:
        source = tick.command.source if tick.command is not None else ""
        statuses = [
            Status(
                _LEVELS.get(Severity(severity), _ERROR),
                name,
                text,
                "safety_supervisor",
                {
                    "mode": tick.full_mode,
                    "source": source,
                    "severity": Severity(severity).name,
                },
            )
            for name, severity, text in tick.occurrences
        ]
        return messages.diagnostics_bytes(StampNs(tick.due_ns + self._offset_ns), statuses)


def _tick_document(tick: Tick) -> dict[str, object]:
    """What a tick knew that no message says; ages in [ms]."""

    def age_ms(received_ns: int | None) -> float | None:
        return None if received_ns is None else round((tick.due_ns - received_ns) / 1e6, 3)

    return {
        "number": tick.number,
        "steady_ns": tick.due_ns,
        "late_ms": round((tick.sent_ns - tick.due_ns) / 1e6, 3),
        "mode": tick.full_mode,
        "ros_offset_ns": tick.ros_offset_ns,
        "held_offset_ns": tick.held_offset_ns,
        "age_ms": {
            JOINT_STATES: age_ms(tick.measured.time_ns if tick.measured else None),
            HEARTBEAT: age_ms(tick.heartbeat[1] if tick.heartbeat else None),
            TARGET: age_ms(tick.operator.time_ns if tick.operator else None),
            ESTOP: age_ms(tick.estop[1]),
        },
        "inferences": tick.heartbeat[0] if tick.heartbeat else None,
        "estop": tick.estop[0],
        "publishers": tick.publishers,
        "chunks": len(tick.chunks),
        "chunks_left_out": tick.chunks_left_out,
        "acts": [list(act) for act in tick.acts],
        "source": tick.command.source if tick.command else "",
        "faults": {name: text for name, (_, text) in tick.faults.items()},
    }

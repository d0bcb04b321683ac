# SPDX-License-Identifier: Apache-2.0
"""What the black box remembers of one tick of the supervisor, and how it gets there.

The control loop packs a tick into bytes (`pack_tick`, some tens of microseconds) and hands them to
another process of the same interpreter, which unpacks them. Bytes, and not references: nothing
that is remembered can change any more, or be lost with the process.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.faults import RESPONSES
from levine_policy_node.core.reference import Prepared
from levine_policy_node.core.supervision import BadChunk, Decision, Inputs
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs

# A flood of chunks must not make a tick long; the others are counted.
CHUNKS_KEPT = 4

_Packed: TypeAlias = "tuple[Any, ...] | None"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Joint values with who they are from and when they came or are due, on the steady clock.

    Attributes:
        source: Source tag, "" for a measurement.
        time_ns: On the steady clock.
        position: Shape (J,) [rad].
        velocity: Shape (J,) [rad/s].
        effort: Shape (J,) [N m], None for an arm that takes positions.
    """

    source: str
    time_ns: int
    position: FloatArray
    velocity: FloatArray
    effort: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """A chunk as it arrived, or a window as it was sent.

    Attributes:
        source: Source tag.
        start_ns: Time of the first row: ROS clock of a chunk, steady clock of a window.
        times_s: Shape (K,) [s] after `start_ns`.
        rows: Positions, velocities and accelerations (3, K, J), or efforts (1, K, J).
    """

    source: str
    start_ns: int
    times_s: FloatArray
    rows: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Tick:
    """One tick: what had arrived, what was decided, what was sent.

    Attributes:
        number: Counts the ticks; a gap is what did not reach the black box.
        due_ns: When it was decided for, on the steady clock.
        sent_ns: When it was over, on the steady clock.
        ros_offset_ns: ROS clock minus steady clock, as read in this tick.
        held_offset_ns: The same, as held since arming; windows are stamped with it.
        mode: Mode after the tick.
        target: Where STOPPING leads, "" in other modes.
        measured: Newest joint state.
        heartbeat: Newest count of inferences and when it came.
        operator: Newest target of the operator.
        estop: Whether the line is on, and when it was last heard.
        publishers: Publishers on the controller's topic, ours included.
        chunks: Chunks that arrived.
        chunks_left_out: Further ones, which are not kept, and unusable ones.
        acts: Operator's acts of this tick: name, whether accepted, the reply.
        command: What is commanded; None where nothing is sent.
        proposal: What the active source asked for, before any limit.
        window: What was sent to a controller that takes windows.
        occurrences: Name, severity and text of what happened.
        faults: Severity and evidence of each latched fault.
    """

    number: int
    due_ns: int
    sent_ns: int
    ros_offset_ns: int
    held_offset_ns: int
    mode: str
    target: str
    measured: Sample | None
    heartbeat: tuple[int, int] | None
    operator: Sample | None
    estop: tuple[bool, int | None]
    publishers: int
    chunks: tuple[Motion, ...]
    chunks_left_out: int
    acts: tuple[tuple[str, bool, str], ...]
    command: Sample | None
    proposal: Sample | None
    window: Motion | None
    occurrences: tuple[tuple[str, int, str], ...]
    faults: Mapping[str, tuple[int, str]]

    @property
    def full_mode(self) -> str:
        """The mode with the target of a stop, such as `STOPPING(PAUSED)`."""
        return f"{self.mode}({self.target})" if self.target else self.mode


def pack_tick(
    number: int, due_ns: SteadyNs, sent_ns: SteadyNs, inputs: Inputs, decision: Decision
) -> bytes:
    """Pack one tick; `unpack_tick` reads it.

    Args:
        number: Of the tick.
        due_ns: When it was decided for.
        sent_ns: When what it decided was sent.
        inputs: What it was decided from.
        decision: What was decided.
    """
    measured, heard, target = inputs.measured, inputs.heartbeat, inputs.target
    chunks, left_out = _chunks(inputs) if inputs.chunks or inputs.pushes else ((), 0)
    return marshal.dumps(
        (
            number,
            due_ns,
            sent_ns,
            inputs.ros_offset_ns,
            decision.offset_ns,
            decision.mode.mode.value,
            decision.mode.target.value if decision.mode.target is not None else "",
            measured
            and _sample("", measured.received_ns, measured.position, measured.velocity, None),
            heard and (heard.count, heard.received_ns),
            target and _sample(target.source, target.received_ns, target.position, None, None),
            (inputs.estop, inputs.estop_received_ns),
            inputs.publishers,
            chunks,
            left_out,
            _acts(inputs, decision) if inputs.requests else (),
            _point(decision.source, due_ns, decision.command, decision.efforts),
            _point(decision.proposal_source, due_ns, decision.proposal, decision.asked_efforts),
            decision.window and _motion(decision.window),
            _occurrences(decision) if decision.occurrences else (),
            _faults(decision) if decision.faults else {},
        )
    )


def unpack_tick(data: bytes) -> Tick:
    """Read what `pack_tick` of this same program has packed."""
    (
        number,
        due_ns,
        sent_ns,
        ros_offset_ns,
        held_offset_ns,
        mode,
        target,
        measured,
        heartbeat,
        operator,
        estop,
        publishers,
        chunks,
        left_out,
        acts,
        command,
        proposal,
        window,
        occurrences,
        faults,
    ) = marshal.loads(data)
    return Tick(
        number=number,
        due_ns=due_ns,
        sent_ns=sent_ns,
        ros_offset_ns=ros_offset_ns,
        held_offset_ns=held_offset_ns,
        mode=mode,
        target=target,
        measured=_unpacked_sample(measured),
        heartbeat=heartbeat,
        operator=_unpacked_sample(operator),
        estop=estop,
        publishers=publishers,
        chunks=tuple(_unpacked_motion(chunk) for chunk in chunks),
        chunks_left_out=left_out,
        acts=acts,
        command=_unpacked_sample(command),
        proposal=_unpacked_sample(proposal),
        window=window and _unpacked_motion(window),
        occurrences=occurrences,
        faults=faults,
    )  # fmt: skip


def _chunks(inputs: Inputs) -> tuple[_Packed, int]:
    """The newest chunks, and how many there were besides."""
    arrived = [c for c in (*inputs.chunks, *inputs.pushes) if not isinstance(c, BadChunk)]
    kept = arrived[-CHUNKS_KEPT:]
    left_out = len(inputs.chunks) + len(inputs.pushes) - len(kept)
    return tuple(_motion(chunk) for chunk in kept), left_out


def _occurrences(decision: Decision) -> _Packed:
    return tuple((o.name, int(o.severity), o.text) for o in decision.occurrences)


def _faults(decision: Decision) -> dict[str, tuple[int, str]]:
    return {f.name: (int(RESPONSES[f].severity), text) for f, text in decision.faults.items()}


def _acts(inputs: Inputs, decision: Decision) -> _Packed:
    replies = {reply.number: reply for reply in decision.replies}
    return tuple(
        (r.act.value, replies[r.number].accepted, replies[r.number].message)
        for r in inputs.requests
        if r.number in replies
    )


def _point(
    source: str, time_ns: int, point: JointPoint | None, effort: FloatArray | None
) -> _Packed:
    if point is None:
        return None
    return _sample(source, time_ns, point.position, point.velocity, effort)


def _sample(
    source: str,
    time_ns: int,
    position: FloatArray,
    velocity: FloatArray | None,
    effort: FloatArray | None,
) -> _Packed:
    return (
        source,
        time_ns,
        position.tobytes(),
        None if velocity is None else velocity.tobytes(),
        None if effort is None else effort.tobytes(),
    )


def _motion(
    line: Timeline[StampNs] | Timeline[SteadyNs] | Prepared | EffortTimeline[StampNs],
) -> _Packed:
    if isinstance(line, Prepared):
        line = line.chunk
    fields = (
        (line.efforts.tobytes(),)
        if isinstance(line, EffortTimeline)
        else (line.positions.tobytes(), line.velocities.tobytes(), line.accelerations.tobytes())
    )
    return line.source, int(line.start_ns), line.times_s.tobytes(), fields


def _unpacked_sample(packed: _Packed) -> Sample | None:
    if packed is None:
        return None
    source, time_ns, position, velocity, effort = packed
    place = np.frombuffer(position)
    speed = np.zeros_like(place) if velocity is None else np.frombuffer(velocity)
    return Sample(source, time_ns, place, speed, effort and np.frombuffer(effort))


def _unpacked_motion(packed: tuple[Any, ...]) -> Motion:
    source, start_ns, times, fields = packed
    times_s = np.frombuffer(times)
    rows = np.stack([np.frombuffer(field).reshape(len(times_s), -1) for field in fields])
    return Motion(source, start_ns, times_s, rows)

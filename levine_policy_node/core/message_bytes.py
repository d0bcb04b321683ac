# SPDX-License-Identifier: Apache-2.0
"""The standard messages of recordings, serialized and read without the message classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.cdr import CdrError, CdrReader, CdrWriter, Header
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs, nanoseconds

JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
STRING = "std_msgs/msg/String"
BOOL = "std_msgs/msg/Bool"
UINT64 = "std_msgs/msg/UInt64"
DIAGNOSTIC_ARRAY = "diagnostic_msgs/msg/DiagnosticArray"

_NOTHING: FloatArray = np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class JointValues:
    """What a sensor_msgs/JointState says; a field that is left out is empty."""

    header: Header
    names: tuple[str, ...]
    position: FloatArray
    velocity: FloatArray
    effort: FloatArray


@dataclass(frozen=True, slots=True)
class Status:
    """One diagnostic_msgs/DiagnosticStatus."""

    level: int
    name: str
    message: str
    hardware_id: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class TrajectoryRows:
    """What a trajectory_msgs/JointTrajectory says, not checked in any way.

    Attributes:
        header: Absolute start, and the source tag in `frame_id`.
        names: J names.
        times_s: `time_from_start` of each point, shape (K,) [s].
        positions: Shape (K, J) [rad]; (K, 0) if it says none, as with every other field.
        velocities: Shape (K, J) [rad/s].
        accelerations: Shape (K, J) [rad/s^2].
        efforts: Shape (K, J) [N m].
    """

    header: Header
    names: tuple[str, ...]
    times_s: FloatArray
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray
    efforts: FloatArray


def joint_state_bytes(
    names: Sequence[str],
    header: Header,
    position: FloatArray,
    velocity: FloatArray,
    effort: FloatArray | None,
) -> bytes:
    """Serialize a sensor_msgs/JointState with values of shape (J,)."""
    writer = CdrWriter()
    writer.header(header)
    writer.uint32(len(names))
    for name in names:
        writer.string(name)
    for values in (position, velocity, _NOTHING if effort is None else effort):
        writer.floats(values)
    return writer.finish()


def read_joint_state(data: bytes) -> JointValues:
    """Read a sensor_msgs/JointState.

    Raises:
        CdrError: If the bytes are cut short or not CDR.
    """
    reader = CdrReader(data)
    header = reader.header()
    names = tuple(reader.string() for _ in range(reader.uint32()))
    return JointValues(header, names, reader.floats(), reader.floats(), reader.floats())


def trajectory_rows_bytes(
    names: Sequence[str], header: Header, times_s: FloatArray, rows: FloatArray
) -> bytes:
    """Serialize a trajectory_msgs/JointTrajectory.

    Args:
        names: J names.
        header: Absolute start and source tag.
        times_s: `time_from_start` of each point (K,) [s].
        rows: Positions, velocities and accelerations (3, K, J), or efforts (1, K, J).
    """
    writer = CdrWriter()
    writer.header(header)
    writer.uint32(len(names))
    for name in names:
        writer.string(name)
    writer.uint32(len(times_s))
    for k, time_s in enumerate(times_s):
        fields = [rows[i, k] for i in range(3)] if len(rows) == 3 else [_NOTHING] * 3
        for values in (*fields, _NOTHING if len(rows) == 3 else rows[0, k]):
            writer.floats(values)
        sec, nanosec = divmod(nanoseconds(float(time_s)), NS_PER_S)
        writer.int32(sec)
        writer.uint32(nanosec)
    return writer.finish()


def read_trajectory_rows(data: bytes) -> TrajectoryRows:
    """Read any trajectory_msgs/JointTrajectory whose points say the same fields.

    Raises:
        CdrError: If the bytes are cut short or not CDR, or points differ in what they say.
    """
    reader = CdrReader(data)
    header = reader.header()
    names = tuple(reader.string() for _ in range(reader.uint32()))
    times_s: list[float] = []
    fields: tuple[list[FloatArray], ...] = ([], [], [], [])
    for _ in range(reader.uint32()):
        for field in fields:
            field.append(reader.floats())
        times_s.append(reader.int32() + reader.uint32() / NS_PER_S)
    rows: list[FloatArray] = []
    for field in fields:
        lengths = {len(row) for row in field}
        if len(lengths) > 1 or lengths - {0, len(names)}:
            raise CdrError("points of one trajectory say different fields")
        rows.append(np.stack(field) if field else np.zeros((0, 0)))
    return TrajectoryRows(header, names, np.array(times_s), *rows)


def string_bytes(text: str) -> bytes:
    """Serialize a std_msgs/String."""
    writer = CdrWriter()
    writer.string(text)
    return writer.finish()


def read_string(data: bytes) -> str:
    """Read a std_msgs/String.

    Raises:
        CdrError: If the bytes are cut short or not CDR.
    """
    return CdrReader(data).string()


def bool_bytes(*, value: bool) -> bytes:
    """Serialize a std_msgs/Bool."""
    writer = CdrWriter()
    writer.uint8(int(value))
    return writer.finish()


def uint64_bytes(value: int) -> bytes:
    """Serialize a std_msgs/UInt64."""
    writer = CdrWriter()
    writer.uint64(value)
    return writer.finish()


def diagnostics_bytes(stamp_ns: StampNs, statuses: Sequence[Status]) -> bytes:
    """Serialize a diagnostic_msgs/DiagnosticArray."""
    writer = CdrWriter()
    writer.header(Header(stamp_ns, ""))
    writer.uint32(len(statuses))
    for status in statuses:
        writer.uint8(status.level)
        for text in (status.name, status.message, status.hardware_id):
            writer.string(text)
        writer.uint32(len(status.values))
        for key, value in status.values.items():
            writer.string(key)
            writer.string(value)
    return writer.finish()


def read_diagnostics(data: bytes) -> tuple[Header, list[Status]]:
    """Read a diagnostic_msgs/DiagnosticArray.

    Raises:
        CdrError: If the bytes are cut short or not CDR.
    """
    reader = CdrReader(data)
    header = reader.header()
    found: list[Status] = []
    for _ in range(reader.uint32()):
        level = reader.uint8()
        name, message, hardware_id = (reader.string() for _ in range(3))
        values = {reader.string(): reader.string() for _ in range(reader.uint32())}
        found.append(Status(level, name, message, hardware_id, values))
    return header, found

# SPDX-License-Identifier: Apache-2.0
"""What values in a message must be to be used, whoever brought the message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from levine_policy_node.core.observation import JointSample
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import TrajectoryFields
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds

_MOST_NAMES = 1024
_LARGEST_BYTES = 1 << 18


class MessageError(ValueError):
    """A message that must be dropped and counted; the text says why."""


def by_name(wanted: Sequence[str], names: Sequence[str], values: Sequence[float]) -> FloatArray:
    """Pick `values` in the order of `wanted`, by name, shape (J,).

    Raises:
        MessageError: If a name is missing or twice there, the lengths differ, or there are far
            too many.
    """
    if len(names) > _MOST_NAMES:
        raise MessageError(f"{len(names)} names (limit {_MOST_NAMES})")
    if len(names) != len(values):
        raise MessageError(f"{len(values)} values for {len(names)} names")
    if len(set(names)) != len(names):
        raise MessageError(f"a joint name is given twice: {', '.join(names)}")
    table = dict(zip(names, values, strict=True))
    missing = [name for name in wanted if name not in table]
    if missing:
        raise MessageError(f"joints missing: {', '.join(missing)}")
    return np.array([table[name] for name in wanted], dtype=np.float64)


def joint_sample(
    stamp_ns: StampNs,
    names: Sequence[str],
    positions: Sequence[float],
    velocities: Sequence[float],
    joint_names: Sequence[str],
) -> JointSample:
    """The joint state of `joint_names`, in that order, from the fields of a JointState.

    Raises:
        MessageError: If a joint or the stamp is missing, or a position is not finite.
    """
    if stamp_ns == 0:
        raise MessageError("no stamp")
    found = by_name(joint_names, names, positions)
    measured = len(velocities) == len(names)
    if not np.all(np.isfinite(found)):
        raise MessageError("positions are not finite")
    speeds = by_name(joint_names, names, velocities) if measured else None
    return JointSample(stamp_ns, found, speeds)


def as_named(wanted: Sequence[str], names: Sequence[str], values: Sequence[float]) -> FloatArray:
    """Pick those of `wanted` that are named, shape (J,); NaN for the others.

    Raises:
        MessageError: If none is, a value is not finite, a name is twice there, or the lengths
            differ.
    """
    there = [name for name in wanted if name in names]
    if not there:
        raise MessageError(f"names none of {', '.join(wanted)}")
    found = by_name(there, names, values)
    if not np.all(np.isfinite(found)):
        raise MessageError("a position is not finite")
    whole = np.full(len(wanted), np.nan)
    whole[[wanted.index(name) for name in there]] = found
    return whole


def check_size(data: bytes) -> None:
    """Refuse what would take longer to read than the supervisor may be held up.

    Raises:
        MessageError: If there are too many bytes.
    """
    if len(data) > _LARGEST_BYTES:
        raise MessageError(f"{len(data)} bytes (limit {_LARGEST_BYTES})")


def usable_timeline(found: TrajectoryFields, joint_names: Sequence[str]) -> Timeline[StampNs]:
    """What was found in the order of `joint_names`, starting with its first knot.

    Raises:
        MessageError: If joints, times or values are not usable.
    """
    names = found.joint_names
    if sorted(names) != sorted(joint_names):
        raise MessageError(f"joints are {list(names)}, not {list(joint_names)}")
    if np.any(np.diff(found.times_s) <= 0):
        raise MessageError("time_from_start must strictly increase")
    order = [names.index(name) for name in joint_names]
    fields: list[FloatArray] = []
    for field in ("positions", "velocities", "accelerations"):
        values = getattr(found, field)[:, order]
        if not np.all(np.isfinite(values)):
            raise MessageError(f"{field} are not finite")
        fields.append(values)
    first_s = float(found.times_s[0])
    return Timeline(
        tuple(joint_names),
        StampNs(found.stamp_ns + nanoseconds(first_s)),
        found.times_s - first_s,
        fields[0],
        fields[1],
        fields[2],
        found.source,
    )

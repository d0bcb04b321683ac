# SPDX-License-Identifier: Apache-2.0
"""What two policies make of the same observation, and what accident would explain it.

A bundle may fit the robot in every name and still mean something else by its numbers: columns in
another order than it says, degrees where it says radians. Nothing in the files shows that; chunks
do, beside those of a policy that is known to work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import FloatArray

_DEGREES = 180.0 / np.pi
# Joints that move less say nothing of what they are.
_MOVES_RAD = 0.01
# How much better than the plain comparison an accident must explain what is seen.
_MUCH_BETTER = 0.3
_UNIT_BAND = 1.5
_FASTER = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class ShadowRows:
    """The rows that both chunks have, as displacements from where the joints were.

    Attributes:
        active: Of the policy that commands, shape (R, J) [rad].
        candidate: Of the one in shadow at the same times, shape (R, J) [rad].
    """

    active: FloatArray
    candidate: FloatArray

    @property
    def distances(self) -> FloatArray:
        """Of each row, that of its worst joint, shape (R,) [rad]."""
        return np.abs(self.candidate - self.active).max(axis=1)


def common_rows(
    active: ActionChunk, candidate: ActionChunk, measured: FloatArray
) -> ShadowRows | None:
    """Compare two chunks at the times of the first one's rows.

    Args:
        active: Of the policy that commands.
        candidate: Of the one in shadow; its rate and observation may be others.
        measured: Joint positions with the observation, shape (J,) [rad].

    Returns:
        The rows whose times both chunks cover, the second interpolated; None if there are none.
    """
    at_s = (np.arange(len(active.positions)) + 1) * active.dt_s
    since_s = (candidate.observed_ns - active.observed_ns) / 1e9
    known_s = since_s + (np.arange(len(candidate.positions)) + 1) * candidate.dt_s
    tolerance_s = 1e-6
    both = (at_s >= known_s[0] - tolerance_s) & (at_s <= known_s[-1] + tolerance_s)
    if not np.any(both):
        return None
    columns = [np.interp(at_s[both], known_s, column) for column in candidate.positions.T]
    return ShadowRows(active.positions[both] - measured, np.stack(columns, axis=1) - measured)


def implausible(chunk: ActionChunk, limits: JointLimits, arm: FloatArray) -> str:
    """Why no policy of this robot would ask for such a chunk, or "".

    Limits keep the arm safe from any chunk; this is about chunks whose unit must be another.
    Targets may lie outside the limits and be too fast, but not by this much: further outside than
    the joint's whole range, or, in the median row, three times as fast as the joint can turn.

    Args:
        chunk: Of the policy in shadow.
        limits: Of the robot.
        arm: Which joints are no grippers, shape (J,); a gripper is told to be somewhere at once.
    """
    width = limits.upper - limits.lower
    outside = np.maximum(limits.lower - chunk.positions, chunk.positions - limits.upper)
    excess = np.max(outside / width, axis=0)
    joint = int(np.argmax(excess))
    if excess[joint] > 1.0:
        asked = chunk.positions[int(np.argmax(outside[:, joint])), joint]
        return (
            f"asks for {limits.names[joint]} = {asked:.3g} rad, and its range is "
            f"{limits.lower[joint]:.3g} to {limits.upper[joint]:.3g}: check units (degrees?) and "
            "scale"
        )
    if len(chunk.positions) < 2:
        return ""
    speeds = np.median(np.abs(np.diff(chunk.positions, axis=0)) / chunk.dt_s, axis=0)
    ratio = np.where(arm, speeds / limits.velocity, 0.0)
    joint = int(np.argmax(ratio))
    if ratio[joint] <= _FASTER:
        return ""
    return (
        f"asks {limits.names[joint]} for {speeds[joint]:.3g} rad/s, and it can do "
        f"{limits.velocity[joint]:.3g}: check units (degrees?) and scale"
    )


def accident(rows: Sequence[ShadowRows], names: Sequence[str]) -> str:
    """What mistake of the export makes the candidate differ from the active policy, or "".

    Args:
        rows: Of all observations so far.
        names: J joint names.
    """
    active = np.concatenate([seen.active for seen in rows])
    candidate = np.concatenate([seen.candidate for seen in rows])
    return _other_unit(active, candidate) or _other_order(active, candidate, names)


def _other_unit(active: FloatArray, candidate: FloatArray) -> str:
    """Whether one is the other in degrees: a common factor of 57.3, and little left over."""
    for much, little, text in (
        (candidate, active, "its numbers look like degrees, and its document says radians"),
        (active, candidate, "its numbers look like radians, and its document says degrees"),
    ):
        energy = float(np.sum(little * little))
        if energy == 0.0 or np.abs(much).max() < _MOVES_RAD:
            continue
        factor = float(np.sum(much * little)) / energy
        left = float(np.linalg.norm(much - factor * little) / np.linalg.norm(much))
        near = _DEGREES / _UNIT_BAND < factor < _DEGREES * _UNIT_BAND
        if near and left < _MUCH_BETTER:
            return text
    return ""


def _other_order(active: FloatArray, candidate: FloatArray, names: Sequence[str]) -> str:
    """Whether the columns are the active policy's in another order."""
    cost = np.abs(candidate[:, :, None] - active[:, None, :]).mean(axis=0)
    own = np.diagonal(cost)
    # Column j of the candidate moves like column `order[j]` of the active policy.
    order = np.argmin(cost, axis=1)
    order = np.where(
        own <= np.maximum(1.5 * cost.min(axis=1), _MOVES_RAD), np.arange(len(own)), order
    )
    if len(set(order.tolist())) < len(order) or np.all(order == np.arange(len(order))):
        return ""
    moved = order != np.arange(len(order))
    if cost[np.arange(len(order)), order][moved].mean() > _MUCH_BETTER * own[moved].mean():
        return ""
    pairs = ", ".join(f"{names[j]} moves like {names[order[j]]}" for j in np.flatnonzero(moved))
    return f"its joints look exchanged: {pairs}"

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
from levine_policy_node.core.assignment import cheapest_pairs
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.observation import Observation
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
        measured: Where the joints were, shape (J,) [rad].
    """

    active: FloatArray
    candidate: FloatArray
    measured: FloatArray

    @property
    def distances(self) -> FloatArray:
        """Of each row, that of its worst joint, shape (R,) [rad]."""
        return np.abs(self.candidate - self.active).max(axis=1)


class TellingMoments:
    """Of each joint, the observation at which the active policy moved it furthest.

    While the arm waits a policy may ask for next to nothing, and then nothing tells its joints
    apart. What was seen earlier does.
    """

    def __init__(self) -> None:
        self._best: dict[int, tuple[float, Observation, ActionChunk]] = {}

    def add(self, observation: Observation, chunk: ActionChunk) -> None:
        """Keep what the policy said of an observation, if it tells more of some joint."""
        moved = np.abs(chunk.positions - observation.joint_positions).mean(axis=0)
        for joint, by in enumerate(moved.tolist()):
            if joint not in self._best or by > self._best[joint][0]:
                self._best[joint] = by, observation, chunk

    def all(self) -> list[tuple[Observation, ActionChunk]]:
        """Each observation once, with the chunk."""
        unique = {int(seen.stamp_ns): (seen, chunk) for _, seen, chunk in self._best.values()}
        return list(unique.values())


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
    said = np.empty((int(np.count_nonzero(both)), len(measured)))
    for joint in range(len(measured)):
        said[:, joint] = np.interp(at_s[both], known_s, candidate.positions[:, joint])
    return ShadowRows(active.positions[both] - measured, said - measured, measured)


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


def accident(rows: Sequence[ShadowRows], names: Sequence[str], *, absolute: bool) -> str:
    """What mistake of the export makes the candidate differ from the active policy, or "".

    Args:
        rows: Of all observations so far.
        names: J joint names.
        absolute: Whether the candidate tells its joints where to be, wherever they are.
    """
    active = np.concatenate([seen.active for seen in rows])
    candidate = np.concatenate([seen.candidate for seen in rows])
    return _other_unit(active, candidate) or _other_order(rows, names, absolute=absolute)


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


def _other_order(rows: Sequence[ShadowRows], names: Sequence[str], *, absolute: bool) -> str:
    """Whether the columns are the active policy's in another order.

    Absolute actions exchange the positions, relative ones the motions. In what is only a motion
    of two joints, a better policy may look like an exchange of them.
    """
    moved = [(seen.active, seen.candidate) for seen in rows]
    placed = [(seen.active + seen.measured, seen.candidate + seen.measured) for seen in rows]
    for pairs in (placed,) if absolute else (moved, placed):
        active = np.concatenate([each for each, _ in pairs])
        candidate = np.concatenate([each for _, each in pairs])
        cost = np.abs(candidate[:, :, None] - active[:, None, :]).mean(axis=0)
        # Column j of the candidate is most like column `order[j]` of the active policy.
        order = cheapest_pairs(cost)
        other = [j for j, like in enumerate(order) if like != j]
        if not other:
            continue
        own = float(np.mean([cost[j, j] for j in other]))
        explained = float(np.mean([cost[j, order[j]] for j in other]))
        if own > _MOVES_RAD and explained < _MUCH_BETTER * own:
            text = ", ".join(f"{names[j]} is like {names[order[j]]}" for j in other)
            return f"its joints look exchanged: {text}"
    return ""

# SPDX-License-Identifier: Apache-2.0
"""The numbers that observations are made of, for one robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.moments import Moment
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ObservationError
from levine_policy_node.runtime.body_schema import BodyTerm
from levine_policy_node.runtime.column_schema import Numbers
from levine_policy_node.runtime.goal_place import GoalPlace
from levine_policy_node.runtime.goal_schema import GoalTerm
from levine_policy_node.runtime.hand_kinematics import HandKinematics
from levine_policy_node.runtime.hand_terms import HandTerm
from levine_policy_node.runtime.observation_schema import (
    ActionTerm,
    GripperEnds,
    GripperTerm,
    Term,
)


@dataclass(frozen=True, slots=True, eq=False)
class JointNumbers:
    """Numbers of an observation, times `scale` plus `offset`."""

    velocity: bool
    columns: npt.NDArray[np.intp]
    scale: FloatArray
    offset: FloatArray

    def values(self, moment: Moment) -> FloatArray:
        """Shape (n,)."""
        seen = moment.observation
        source = seen.joint_velocities if self.velocity else seen.joint_positions
        if source is None:
            raise ObservationError("the policy observes joint velocities, which are not measured")
        return source[self.columns] * self.scale + self.offset


@dataclass(frozen=True, slots=True)
class LastAction:
    """The action of the period before."""

    def values(self, moment: Moment) -> FloatArray:
        """Shape (A,)."""
        return moment.previous


VectorTerm = JointNumbers | HandTerm | GoalPlace | LastAction


def vector_term(
    term: Term,
    joint_names: Sequence[str],
    gripper_ends: Mapping[str, tuple[float, float]],
    hand: HandKinematics | None,
) -> VectorTerm:
    """One term of an observation.

    Args:
        term: What the document says of it.
        joint_names: The joint order of observations.
        gripper_ends: Where every gripper is closed and where open [rad], by joint.
        hand: Kinematics of the hand, for terms that are about it.
    """
    if isinstance(term, ActionTerm):
        return LastAction()
    if isinstance(term, GoalTerm):
        return GoalPlace(term.frame)
    if isinstance(term, BodyTerm):
        return _hand_term(term, hand)
    names = term.names
    scale, offset = getattr(term, "scale", 1.0), getattr(term, "offset", 0.0)
    if isinstance(term, GripperTerm):
        names = (gripper_joint(term.names, gripper_ends),)
        scale, offset = gripper_line(term, gripper_ends[names[0]])
        scale, offset = 1.0 / scale, -offset / scale
    return JointNumbers(
        velocity=term.kind == "state/joint/velocity",
        columns=np.array([list(joint_names).index(name) for name in names]),
        scale=columns(scale, len(names)),
        offset=columns(offset, len(names)),
    )


def _hand_term(term: BodyTerm, hand: HandKinematics | None) -> HandTerm:
    if hand is None:
        raise ObservationError("the policy observes the hand, whose kinematics are not known")
    kept = range(term.width) if term.axes is None else term.kept
    return HandTerm(
        spec=term,
        hand=hand,
        kept=np.array(kept, dtype=np.intp),
        scale=columns(term.scale, term.width),
        offset=columns(term.offset, term.width),
    )


def gripper_joint(names: Sequence[str], ends: Mapping[str, tuple[float, float]]) -> str:
    """The joint of a gripper, which is the robot's only one where none is named."""
    return names[0] if names else next(iter(ends))


def gripper_line(ends: GripperEnds, at: tuple[float, float]) -> tuple[float, float]:
    """Scale and offset from a gripper's number to the position of its joint [rad].

    Args:
        ends: What the numbers mean.
        at: Where the joint is when closed and when open [rad].
    """
    scale = (at[1] - at[0]) / (ends.open - ends.closed)
    return scale, at[0] - scale * ends.closed


def columns(value: Numbers, count: int) -> FloatArray:
    """One number per column, shape (count,)."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))

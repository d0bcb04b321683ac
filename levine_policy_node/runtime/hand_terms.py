# SPDX-License-Identifier: Apache-2.0
"""What a policy sees of the hand, from the joints that are measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.core.moments import Moment
from levine_policy_node.core.rotations import from_matrices
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ObservationError
from levine_policy_node.runtime.body_schema import BodyTerm
from levine_policy_node.runtime.hand_kinematics import HandKinematics

_LINEAR, _ANGULAR = "state/body/linear_velocity", "state/body/angular_velocity"


@dataclass(frozen=True, slots=True, eq=False)
class HandTerm:
    """Numbers of the hand, times `scale` plus `offset`.

    Attributes:
        spec: What they are.
        hand: The robot's kinematics.
        kept: Which of the numbers of its kind, shape (n,).
        scale: Shape (n,).
        offset: Shape (n,).
    """

    spec: BodyTerm
    hand: HandKinematics
    kept: npt.NDArray[np.intp]
    scale: FloatArray
    offset: FloatArray

    def values(self, moment: Moment) -> FloatArray:
        """Shape (n,)."""
        numbers = self._velocity(moment) if self.spec.moves else self._pose(moment)
        return numbers[self.kept] * self.scale + self.offset

    def _pose(self, moment: Moment) -> FloatArray:
        pose = self.hand.pose(moment.observation.joint_positions)
        if self.spec.relative_to == "start" and moment.start is not None:
            start = self.hand.pose(moment.start)
            pose = Poses(
                start.rotations.T @ (pose.positions - start.positions),
                start.rotations.T @ pose.rotations,
            )
        if self.spec.rotation is None:
            return pose.positions
        turn = from_matrices(pose.rotations, self.spec.rotation)
        return turn if self.spec.kind == "state/body/rotation" else np.append(pose.positions, turn)

    def _velocity(self, moment: Moment) -> FloatArray:
        seen = moment.observation
        if seen.joint_velocities is None:
            raise ObservationError(
                "the policy observes the hand's velocity, and joint velocities are not measured"
            )
        moved = self.hand.velocity(seen.joint_positions, seen.joint_velocities)
        linear, angular = moved[:3], moved[3:]
        if self.spec.frame != "base" and self.spec.frame != self.hand.base:
            axes = self.hand.pose(seen.joint_positions).rotations
            linear, angular = axes.T @ linear, axes.T @ angular
        chosen = {_LINEAR: linear, _ANGULAR: angular}
        return chosen.get(self.spec.kind, np.append(linear, angular))

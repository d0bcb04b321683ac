# SPDX-License-Identifier: Apache-2.0
"""From a policy's action columns to joint targets, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.normalization import Normalization
from levine_policy_node.core.units import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ActionLayout:
    """What the columns of an action are, in the order they are undone.

    Attributes:
        normalization: Of the columns, or None.
        scale: Per column, shape (A,); after the normalisation.
        offset: Per column, shape (A,) [rad]; after the scale.
        relative: Per column, shape (A,): added to the measured position of its joint.
        order: For every joint of the robot the column that holds its target, shape (J,).
    """

    normalization: Normalization | None
    scale: FloatArray
    offset: FloatArray
    relative: npt.NDArray[np.bool_]
    order: npt.NDArray[np.intp]

    def positions(self, actions: FloatArray, measured: FloatArray) -> FloatArray:
        """Turn actions into absolute joint targets.

        Args:
            actions: Shape (T, A), in the network's unit.
            measured: Joint positions of the observation, shape (J,) [rad].

        Returns:
            Shape (T, J) [rad], in the joint order of `measured`.
        """
        values = actions if self.normalization is None else self.normalization.invert(actions)
        targets = (values * self.scale + self.offset)[:, self.order]
        return targets + np.where(self.relative[self.order], measured, 0.0)

    def actions(self, positions: FloatArray, measured: FloatArray) -> FloatArray:
        """Turn absolute joint targets into actions, the inverse of `positions`.

        Args:
            positions: The first L rows of a chunk, shape (L, J) [rad].
            measured: Joint positions of the observation, shape (J,) [rad].

        Returns:
            Shape (L, A), in the network's unit.
        """
        targets = positions - np.where(self.relative[self.order], measured, 0.0)
        values = np.empty((len(positions), len(self.order)))
        values[:, self.order] = targets
        values = (values - self.offset) / self.scale
        if self.normalization is None:
            return values
        return self.normalization.first_rows(len(values)).apply(values)

# SPDX-License-Identifier: Apache-2.0
"""From a policy's action columns to joint targets."""

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

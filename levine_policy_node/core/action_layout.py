# SPDX-License-Identifier: Apache-2.0
"""From a policy's action columns to joint targets, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.normalization import Normalization
from levine_policy_node.core.units import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Gripper:
    """A column that says how far a gripper is open.

    Attributes:
        column: Which.
        closed: Its value when the gripper is closed.
        open: Its value when it is open.
        binarize: Where it switches between both, None to follow it.
    """

    column: int
    closed: float
    open: float
    binarize: float | None = None

    def inside(self, values: FloatArray) -> FloatArray:
        """Values that a gripper can follow, shape as `values`."""
        if self.binarize is None:
            return np.clip(values, min(self.closed, self.open), max(self.closed, self.open))
        opens = (values > self.binarize) == (self.open > self.closed)
        return np.where(opens, self.open, self.closed)


@dataclass(frozen=True, slots=True, eq=False)
class ActionLayout:
    """What the columns of an action are, in the order they are undone.

    Attributes:
        normalization: Of the columns, or None.
        scale: Per column, shape (A,); after the normalisation.
        offset: Per column, shape (A,) [rad]; after the scale.
        relative: Per column, shape (A,): added to the measured position of its joint.
        order: For every joint of the robot the column that holds its target, shape (J,); -1 for
            one that no column holds, which stays where it was measured.
        delta: Per column, shape (A,): a step from the row before, the first from the measured
            position; None for none.
        grippers: Columns that are made what a gripper can follow, before the scale.
    """

    normalization: Normalization | None
    scale: FloatArray
    offset: FloatArray
    relative: BoolArray
    order: npt.NDArray[np.intp]
    delta: BoolArray | None = None
    grippers: tuple[Gripper, ...] = ()

    def positions(self, actions: FloatArray, measured: FloatArray) -> FloatArray:
        """Turn actions into absolute joint targets.

        Args:
            actions: Shape (T, A), in the network's unit.
            measured: Joint positions of the observation, shape (J,) [rad].

        Returns:
            Shape (T, J) [rad], in the joint order of `measured`.
        """
        return self.targets(self.columns(actions), measured)

    def columns(self, actions: FloatArray) -> FloatArray:
        """The columns in the robot's units, shape (T, A)."""
        values = actions if self.normalization is None else self.normalization.invert(actions)
        for gripper in self.grippers:
            values = values.copy()
            values[:, gripper.column] = gripper.inside(values[:, gripper.column])
        return values * self.scale + self.offset

    def targets(self, values: FloatArray, measured: FloatArray) -> FloatArray:
        """Joint targets, shape (T, J) [rad], of columns in the robot's units (T, A)."""
        targets = np.where(self.order < 0, 0.0, values[:, self.order])
        if self.delta is not None:
            targets = np.where(self.delta[self.order], np.cumsum(targets, axis=0), targets)
        return targets + np.where(self._from_measured, measured, 0.0)

    def actions(self, positions: FloatArray, measured: FloatArray) -> FloatArray:
        """Turn absolute joint targets into actions, the inverse of `positions`.

        Args:
            positions: The first L rows of a chunk, shape (L, J) [rad].
            measured: Joint positions of the observation, shape (J,) [rad].

        Returns:
            Shape (L, A), in the network's unit.
        """
        return self.network(self.values(positions, measured))

    def values(self, positions: FloatArray, measured: FloatArray) -> FloatArray:
        """Columns in the robot's units, shape (L, A); 0 where they are no joint's."""
        targets = positions - np.where(self._from_measured, measured, 0.0)
        if self.delta is not None:
            steps = np.diff(targets, axis=0, prepend=np.zeros((1, targets.shape[1])))
            targets = np.where(self.delta[self.order], steps, targets)
        values = np.zeros((len(positions), len(self.scale)))
        held = self.order >= 0
        values[:, self.order[held]] = targets[:, held]
        return values

    def network(self, values: FloatArray) -> FloatArray:
        """Columns in the robot's units (L, A) as the network writes them; undoes `columns`."""
        values = (values - self.offset) / self.scale
        if self.normalization is None:
            return values
        return self.normalization.first_rows(len(values)).apply(values)

    @property
    def _from_measured(self) -> BoolArray:
        """For every joint whether its targets begin at its measured position, shape (J,)."""
        begins = self.relative if self.delta is None else self.relative | self.delta
        return (self.order < 0) | begins[self.order]

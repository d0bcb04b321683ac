# SPDX-License-Identifier: Apache-2.0
"""From a policy's action columns to poses of the hand, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.cartesian import CartesianMode, Poses
from levine_policy_node.core.rotations import Rotation, from_matrices, to_matrices, widths
from levine_policy_node.core.units import FloatArray

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """The columns that are a rotation.

    Attributes:
        columns: Which, shape (m,).
        form: How they are written; None for the cosine and sine of an angle about z.
        axes: Which angles of the form they are, shape (m,); the others are 0.
    """

    columns: Indices
    form: Rotation | None
    axes: Indices

    def matrices(self, values: FloatArray) -> FloatArray:
        """Rotations, shape (T, 3, 3), of columns (T, A)."""
        written = values[:, self.columns]
        if self.form is None:
            vectors = np.zeros((len(values), 3))
            vectors[:, 2] = np.arctan2(written[:, 1], written[:, 0])
            return to_matrices(vectors, "axis_angle")
        whole = np.zeros((len(values), widths()[self.form]))
        whole[:, self.axes] = written
        return to_matrices(whole, self.form)

    def written(self, matrices: FloatArray) -> FloatArray:
        """The columns of rotations, shape (T, m)."""
        if self.form is None:
            yaw = from_matrices(matrices, "euler_xyz")[:, 2]
            return np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
        return from_matrices(matrices, self.form)[:, self.axes]


@dataclass(frozen=True, slots=True, eq=False)
class HandColumns:
    """The columns that say where the hand goes and how it turns.

    Attributes:
        moved: The columns that are positions, shape (n,); what none of them is stays.
        axes: Which axes they are, shape (n,).
        turns: The columns that are a rotation; None if the hand keeps the one it has.
        mode: What the rows are; without columns of a rotation, it is relative.
    """

    moved: Indices
    axes: Indices
    turns: Turns | None
    mode: CartesianMode

    def poses(self, values: FloatArray, start: Poses) -> Poses:
        """Poses of the hand in the base frame.

        Args:
            values: Every column of the action in [m] and [rad], shape (T, A).
            start: The pose measured with the observation, shapes (3,) and (3, 3).

        Returns:
            Shapes (T, 3) and (T, 3, 3).

        Raises:
            ValueError: If a row is no rotation.
        """
        rows = len(values)
        positions = np.zeros((rows, 3))
        if self.mode.position == "absolute":
            positions[:] = start.positions
        positions[:, self.axes] = values[:, self.moved]
        rotations = np.tile(np.eye(3), (rows, 1, 1))
        if self.turns is not None:
            rotations = self.turns.matrices(values)
        return self.mode.poses(Poses(positions, rotations), start)

    def write(self, poses: Poses, start: Poses, values: FloatArray) -> None:
        """Fill in the columns that give these poses, the inverse of `poses`.

        Args:
            poses: Shapes (T, 3) and (T, 3, 3).
            start: The pose measured with the observation.
            values: Every column of the action, shape (T, A); the hand's are overwritten.
        """
        rows = self.mode.rows(poses, start)
        values[:, self.moved] = rows.positions[:, self.axes]
        if self.turns is not None:
            values[:, self.turns.columns] = self.turns.written(rows.rotations)

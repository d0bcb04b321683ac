# SPDX-License-Identifier: Apache-2.0
"""From Cartesian action columns to poses of a body in the base frame, and back.

`absolute` columns are poses. `relative` ones are added to the pose at inference time, every row to
the same one (UMI, openpi). `delta` ones are steps, each from the row before and the first from
that pose. Rotations compose on SO(3), never by adding numbers. Offsets are along the axes of the
base, or along those of the pose they start from (HIL-SERL, UMI).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from levine_policy_node.core.rotations import transposed
from levine_policy_node.core.units import FloatArray

Mode = Literal["absolute", "relative", "delta"]


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Where a body is, in the base frame.

    Attributes:
        positions: Shape (..., 3) [m].
        rotations: Shape (..., 3, 3).
    """

    positions: FloatArray
    rotations: FloatArray


@dataclass(frozen=True, slots=True)
class CartesianMode:
    """What the rows of a Cartesian action are.

    Attributes:
        position: Mode of the positions.
        rotation: Mode of the rotations.
        moved_in_body: Whether offsets are along the body's axes and not the base's.
        turned_in_body: The same for rotations.
    """

    position: Mode = "absolute"
    rotation: Mode = "absolute"
    moved_in_body: bool = False
    turned_in_body: bool = False

    def poses(self, rows: Poses, start: Poses) -> Poses:
        """Compose the rows of a chunk with the pose at inference time.

        Args:
            rows: What the policy gave, shapes (T, 3) and (T, 3, 3).
            start: The pose measured with the observation, shapes (3,) and (3, 3).

        Returns:
            Poses in the base frame, shapes (T, 3) and (T, 3, 3).
        """
        before = start
        positions: list[FloatArray] = []
        rotations: list[FloatArray] = []
        for position, rotation in zip(rows.positions, rows.rotations, strict=True):
            base = Poses(
                before.positions if self.position == "delta" else start.positions,
                before.rotations if self.rotation == "delta" else start.rotations,
            )
            axes = before.rotations if self.position == "delta" else start.rotations
            before = Poses(
                self._moved(position, base.positions, axes),
                self._turned(rotation, base.rotations),
            )
            positions.append(before.positions)
            rotations.append(before.rotations)
        return Poses(np.array(positions).reshape(-1, 3), np.array(rotations).reshape(-1, 3, 3))

    def rows(self, poses: Poses, start: Poses) -> Poses:
        """What the policy would have given for these poses; the inverse of `poses`."""
        before = Poses(
            np.vstack([start.positions[None], poses.positions[:-1]]),
            np.concatenate([start.rotations[None], poses.rotations[:-1]]),
        )
        at = before.positions if self.position == "delta" else start.positions
        axes = before.rotations if self.position == "delta" else start.rotations
        turned = before.rotations if self.rotation == "delta" else start.rotations
        positions, rotations = poses.positions, poses.rotations
        if self.position != "absolute":
            positions = positions - at
            if self.moved_in_body:
                positions = (transposed(axes) @ positions[..., None])[..., 0]
        if self.rotation != "absolute":
            inverse = transposed(turned)
            rotations = inverse @ rotations if self.turned_in_body else rotations @ inverse
        return Poses(positions, rotations)

    def _moved(self, offset: FloatArray, base: FloatArray, axes: FloatArray) -> FloatArray:
        if self.position == "absolute":
            return offset
        return base + (axes @ offset if self.moved_in_body else offset)

    def _turned(self, rotation: FloatArray, base: FloatArray) -> FloatArray:
        if self.rotation == "absolute":
            return rotation
        return base @ rotation if self.turned_in_body else rotation @ base

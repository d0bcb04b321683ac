# SPDX-License-Identifier: Apache-2.0
"""Grippers that are told to open or close, and otherwise stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import FloatArray

OPEN, KEEP, CLOSE = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Toggle:
    """One column that opens near one number and closes near another (HIL-SERL: 1 and -1).

    Attributes:
        column: Which.
        closed: The number that closes.
        open: The number that opens; halfway between both nothing changes.
    """

    column: int
    closed: float
    open: float

    def orders(self, values: FloatArray) -> npt.NDArray[np.int_]:
        """OPEN, KEEP or CLOSE for every row of columns (T, A); each where it is nearest."""
        middle, half = (self.open + self.closed) / 2, (self.open - self.closed) / 2
        return np.rint(np.clip((values[:, self.column] - middle) / half, -1, 1)).astype(np.int_)


@dataclass(frozen=True, slots=True)
class OpenClose:
    """A column that opens and one that closes (QT-Opt); neither or both change nothing.

    Attributes:
        opens: Column of the order to open.
        closes: Column of the order to close.
        threshold: An order is given above it.
    """

    opens: int
    closes: int
    threshold: float

    def orders(self, values: FloatArray) -> npt.NDArray[np.int_]:
        """OPEN, KEEP or CLOSE for every row of columns (T, A)."""
        asked = values[:, [self.opens, self.closes]] > self.threshold
        return np.subtract(*asked.T.astype(np.int_))


Orders = Toggle | OpenClose


def obeyed(orders: npt.NDArray[np.int_], before: float, ends: tuple[float, float]) -> FloatArray:
    """Positions of the gripper for every row, shape (T,).

    Args:
        orders: Shape (T,).
        before: Where it was told to be before the first row.
        ends: Where it is closed and where open.
    """
    given = np.where(orders != KEEP, np.arange(1, len(orders) + 1), 0)
    last = np.maximum.accumulate(given)
    told = np.where(orders == OPEN, ends[1], ends[0])
    return np.concatenate([[before], told])[last]

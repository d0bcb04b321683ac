# SPDX-License-Identifier: Apache-2.0
"""Normalisation of vectors with statistics of the training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.units import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Normalization:
    """`(x - center) / spread` and back.

    Attributes:
        center: Shape (D,) or (T, D), in the unit of the data.
        spread: The same shape, above 0.
    """

    center: FloatArray
    spread: FloatArray

    @staticmethod
    def mean_std(mean: FloatArray, std: FloatArray) -> Normalization:
        """Zero mean and unit deviation."""
        return Normalization(mean, std)

    @staticmethod
    def min_max(low: FloatArray, high: FloatArray) -> Normalization:
        """[low, high] to [-1, 1]; with quantiles as bounds, what is beyond them is beyond 1."""
        return Normalization((high + low) / 2.0, (high - low) / 2.0)

    def masked(self, mask: BoolArray) -> Normalization:
        """Only the columns of `mask`, shape (D,); the others pass through as they are."""
        return Normalization(np.where(mask, self.center, 0.0), np.where(mask, self.spread, 1.0))

    def apply(self, values: FloatArray) -> FloatArray:
        """From the robot's unit to what the network saw in training."""
        return (values - self.center) / self.spread

    def invert(self, values: FloatArray) -> FloatArray:
        """From the network's output to the robot's unit."""
        return values * self.spread + self.center

    def first_rows(self, rows: int) -> Normalization:
        """That of the first `rows` rows, where each row has statistics of its own."""
        if self.center.ndim < 2:
            return self
        return Normalization(self.center[:rows], self.spread[:rows])

# SPDX-License-Identifier: Apache-2.0
"""A Gaussian over action sequences that is refitted to the best of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import FloatArray

Covariance = Literal["diagonal", "full"]


@dataclass(frozen=True, slots=True, eq=False)
class ActionGaussian:
    """A Gaussian over K actions of A columns.

    Attributes:
        mean: Shape (K, A).
        factor: Maps standard normal noise to deviations: shape (K A,) for independent values,
            else the symmetric root of the covariance, (K A, K A). Unlike other roots it is unique,
            so the same noise gives the same samples whatever library factorises.
    """

    mean: FloatArray
    factor: FloatArray

    def samples(self, noise: npt.NDArray[np.float32]) -> FloatArray:
        """Samples of standard normal noise, both of shape (N, K, A)."""
        flat = noise.reshape(len(noise), -1).astype(np.float64)
        moved = flat * self.factor if self.factor.ndim == 1 else flat @ self.factor
        return moved.reshape(noise.shape) + self.mean


def fitted(actions: FloatArray, covariance: Covariance) -> ActionGaussian:
    """The Gaussian of `actions`, shape (N, K, A).

    Independent values have the standard deviation of the population, as in QT-Opt and PDDM; the
    full covariance is that of a sample, which takes two, as in visual foresight (`np.cov`).
    """
    mean = actions.mean(axis=0)
    if covariance == "diagonal":
        return ActionGaussian(mean, actions.std(axis=0).reshape(-1))
    deviations = (actions - mean).reshape(len(actions), -1)
    spread = deviations.T @ deviations / (len(actions) - 1)
    values, vectors = np.linalg.eigh(spread)
    # Fewer samples than values leave eigenvalues that are 0 but for rounding.
    roots = np.sqrt(np.maximum(values, 0.0))
    return ActionGaussian(mean, (vectors * roots) @ vectors.T)

# SPDX-License-Identifier: Apache-2.0
"""How often a sample is drawn: corrections among demonstrations. No torch.

- `hg_dagger`: every sample alike (Kelly et al., HG-DAgger, 2019). A few minutes of corrections
  are then a small part of what is trained on.
- `iwr`: corrections and demonstrations have half of the draws each (Mandlekar et al.,
  Human-in-the-Loop Imitation Learning using Remote Teleoperation, 2020).
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt


class Mix(Enum):
    """How corrections and demonstrations are mixed."""

    HG_DAGGER = "hg_dagger"
    IWR = "iwr"


def draw_weights(human: npt.NDArray[np.bool_], mix: Mix) -> npt.NDArray[np.float64]:
    """How likely each sample (N,) is to be drawn; they add up to 1.

    Without corrections, or with nothing else, all samples are alike.

    Raises:
        ValueError: If there is no sample.
    """
    count, corrected = len(human), int(np.count_nonzero(human))
    if count == 0:
        raise ValueError("there is no sample to draw")
    if mix is Mix.HG_DAGGER or corrected in {0, count}:
        return np.full(count, 1.0 / count)
    return np.where(human, 0.5 / corrected, 0.5 / (count - corrected))


class Draws:
    """Draws samples by weight, with replacement."""

    def __init__(self, weights: npt.NDArray[np.float64], seed: int) -> None:
        self._cumulative = np.cumsum(weights)
        self._rng = np.random.default_rng(seed)

    def batch(self, size: int) -> npt.NDArray[np.intp]:
        """Indices (size,) of the next samples."""
        points = self._rng.random(size) * self._cumulative[-1]
        return np.searchsorted(self._cumulative, points, side="right")

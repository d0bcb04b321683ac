# SPDX-License-Identifier: Apache-2.0
"""Noise a sampler starts from: always an input, so that a chunk can be computed again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SEED = 0


class Noise:
    """Standard normal noise, the same sequence after every reset.

    Args:
        seed: Of the sequence.
    """

    def __init__(self, seed: int = _SEED) -> None:
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Begin the sequence again."""
        self._generator = np.random.default_rng(self._seed)

    def draw(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The next noise of the sequence, float32."""
        return self._generator.standard_normal(shape, dtype=np.float32)

# SPDX-License-Identifier: Apache-2.0
"""What the families' own samplers made, and noise that is given instead of drawn.

`decoder_golden.npz` was written by `make_decoder_golden.py` with PyTorch 2.13, SciPy 1.17.1 and
diffusers 0.42.1; that script says which code of which repository and commit ran. No code of theirs
is here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from levine_policy_node.core.decoders.noise import Noise

GOLDEN = dict(np.load(Path(__file__).parent / "decoder_golden.npz"))
TOLERANCE = 1e-5


class GivenNoise(Noise):
    """Returns the given arrays one after the other, whatever leading axes are asked for."""

    def __init__(self, *arrays):
        self._given = [np.asarray(array, dtype=np.float32) for array in arrays]
        super().__init__()

    def reset(self):
        self._left = list(self._given)

    def draw(self, shape):
        return self._left.pop(0).reshape(shape).copy()

    @property
    def left(self):
        return len(self._left)

# SPDX-License-Identifier: Apache-2.0
"""What policies that move the hand of the Franka Research 3 see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import hand
import numpy as np
import numpy.typing as npt
from export_common import Recording, record

_CAMERA = (120, 160)


def record_hand(rate: float, steps: int, cameras: Sequence[str], task: str) -> Recording:
    """A slow motion of the arm, and frames of coloured tiles, which compress well.

    Args:
        rate: Of the bundle [Hz].
        steps: Observations.
        cameras: Names.
        task: What the policy is told.
    """
    seen = record(rate, names=hand.JOINTS, home=hand.HOME, steps=steps)
    finger = np.full((steps, 1), hand.HOME[-1])
    return replace(
        seen,
        position=np.hstack([seen.position[:, :-1], finger]),
        velocity=np.hstack([seen.velocity[:, :-1], 0.0 * finger]),
        images={name: _frames(steps, index) for index, name in enumerate(cameras)},
        task=task,
    )


def _frames(steps: int, seed: int) -> npt.NDArray[np.uint8]:
    tile = 10
    shape = (steps, _CAMERA[0] // tile, _CAMERA[1] // tile, 3)
    tiles = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return tiles.repeat(tile, axis=1).repeat(tile, axis=2)

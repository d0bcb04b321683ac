# SPDX-License-Identifier: Apache-2.0
"""The pure parts of image preprocessing: where to crop, where to pad, how to scale.

The order is fixed: crop, resize, centre crop, range, mean and std, layout. Only the resize itself
is not here, since it must be the one the training code used (`runtime.preprocess`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.observation import Pixels

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, pixels: Pixels) -> Pixels:
        """Return the part of `pixels` (H, W, C) inside the box, as a view.

        Raises:
            ValueError: If the box is not inside the image.
        """
        height, width = pixels.shape[:2]
        if self.top + self.height > height or self.left + self.width > width:
            raise ValueError(f"crop {self} does not fit an image of {width}x{height}")
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


def centre_box(shape: Sequence[int], size: tuple[int, int]) -> Box:
    """The box of `size` (height, width) in the middle of an image of `shape` (H, W, ...)."""
    height, width = size
    return Box((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)


def area_box(shape: Sequence[int], fraction: float) -> Box:
    """The centred box with this fraction of the area, in whole pixels.

    The root of the fraction per side, as openvla `center_crop` does for models that were trained
    on random crops of 0.9 of the area.
    """
    side = fraction**0.5
    height, width = round(shape[0] * side), round(shape[1] * side)
    return centre_box(shape, (max(height, 1), max(width, 1)))


def fitted_box(shape: Sequence[int], size: tuple[int, int], *, centred: bool) -> Box:
    """Where in a canvas of `size` an image of `shape` goes when its aspect is kept.

    The free space is split evenly when `centred` (openpi `resize_with_pad`), else it is above and
    to the left (LeRobot SmolVLA).
    """
    ratio = max(shape[0] / size[0], shape[1] / size[1])
    height, width = max(1, int(shape[0] / ratio)), max(1, int(shape[1] / ratio))
    free = size[0] - height, size[1] - width
    top, left = (free[0] // 2, free[1] // 2) if centred else free
    return Box(top, left, height, width)


def scale_pixels(
    pixels: Pixels,
    value_range: tuple[float, float],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> FloatImage:
    """Map 0..255 to `value_range`, then subtract `mean` and divide by `std` per channel.

    Args:
        pixels: RGB, shape (H, W, 3).
        value_range: What 0 and 255 become.
        mean: Three values, or None for no normalisation.
        std: Three values, or None for no normalisation.

    Returns:
        Shape (H, W, 3), float32.
    """
    low, high = value_range
    scaled = pixels.astype(np.float32)
    if (low, high) != (0.0, 255.0):
        scaled /= np.float32(255.0)
        if (low, high) != (0.0, 1.0):
            scaled *= np.float32(high - low)
            scaled += np.float32(low)
    if mean is not None and std is not None:
        scaled -= np.asarray(mean, dtype=np.float32)
        scaled /= np.asarray(std, dtype=np.float32)
    return scaled

# SPDX-License-Identifier: Apache-2.0
"""From a camera frame to a graph input."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from levine_policy_node.core import image
from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.resample import resampled, sampled
from levine_policy_node.errors import ObservationError
from levine_policy_node.runtime.image_schema import ImageSpec

_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
}


def image_tensor(pixels: Pixels, spec: ImageSpec) -> npt.NDArray[Any]:
    """Turn one frame into a graph input.

    Args:
        pixels: RGB, shape (H, W, 3).
        spec: The document's `image` section.

    Returns:
        Shape (1, 3, H, W) or (1, H, W, 3), float32 or uint8, contiguous.

    Raises:
        ObservationError: If the crop does not fit the frame.
    """
    if spec.interpolation == "crop_and_resize" and isinstance(spec.crop, float):
        sized = sampled(pixels, spec.size, spec.crop)
    else:
        try:
            sized = _resize(_crop(pixels, spec), spec)
        except ValueError as error:
            raise ObservationError(str(error)) from error
    if spec.centre_crop is not None:
        sized = image.centre_box(sized.shape, spec.centre_crop).cut(sized)
    scaled: npt.NDArray[Any] = sized
    if spec.dtype == "float32":
        scaled = image.scale_pixels(sized, spec.range, spec.mean, spec.std)
    if spec.layout == "chw":
        scaled = scaled.transpose(2, 0, 1)
    return np.ascontiguousarray(scaled[None])


def _crop(pixels: Pixels, spec: ImageSpec) -> Pixels:
    if isinstance(spec.crop, float):
        return image.area_box(pixels.shape, spec.crop).cut(pixels)
    if isinstance(spec.crop, tuple) and len(spec.crop) == 4:
        return image.Box(*spec.crop).cut(pixels)
    return pixels


def _resize(pixels: Pixels, spec: ImageSpec) -> Pixels:
    height, width = spec.size
    if pixels.shape[:2] == (height, width):
        return pixels
    box = image.Box(0, 0, height, width)
    if spec.resize != "stretch":
        box = image.fitted_box(pixels.shape, spec.size, centred=spec.resize == "pad")
    resized = _resampled(pixels, (box.height, box.width), spec)
    if (box.height, box.width) == (height, width):
        return resized
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = resized
    return canvas


def _resampled(pixels: Pixels, size: tuple[int, int], spec: ImageSpec) -> Pixels:
    kind = spec.interpolation
    if kind in ("bilinear", "bicubic", "lanczos"):
        return resampled(pixels, size, kind)
    # cv2 refuses the negative strides of a flipped view.
    resized = cv2.resize(
        np.ascontiguousarray(pixels), size[::-1], interpolation=_INTERPOLATION[kind]
    )
    return resized.astype(np.uint8, copy=False)

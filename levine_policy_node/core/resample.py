# SPDX-License-Identifier: Apache-2.0
"""Resizing as two libraries do it that most vision-language policies were trained with.

OpenCV has neither: its `linear` and `cubic` skip pixels when they make an image smaller, and its
`area` is another filter. A model that was trained on averaged pixels sees flicker in skipped ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.observation import Pixels

Filter = Literal["bilinear", "bicubic", "lanczos"]

_SUPPORT: dict[Filter, float] = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
_CUBIC = -0.5
_BITS = 22
"""Of the coefficients' fraction, as Pillow has them: sums fit 32 bits."""


def resampled(pixels: Pixels, size: tuple[int, int], kind: Filter) -> Pixels:
    """Resize as Pillow's `Image.resize` does, bit by bit (`libImaging/Resample.c`).

    The filter is as wide as a pixel of the result, so every pixel of the image counts. tf.image
    and jax.image do the same with `antialias=True`, and round once instead of twice. Rows are
    resized first, as Pillow does; since 13 it begins with the columns of frames that are more than
    twice as high as wide, and then a value may differ by one.

    Args:
        pixels: RGB, shape (H, W, 3).
        size: Height and width of the result.
        kind: The filter.
    """
    height, width = size
    if pixels.shape[1] != width:
        pixels = _along(pixels.transpose(1, 0, 2), width, kind).transpose(1, 0, 2)
    return _along(pixels, height, kind) if pixels.shape[0] != height else pixels


def sampled(pixels: Pixels, size: tuple[int, int], fraction: float) -> Pixels:
    """Cut a centred part out and resize it as `tf.image.crop_and_resize` does.

    The part is the root of `fraction` per side, and its ends lie between pixels; every value is
    interpolated from four pixels, none is averaged (openvla `experiments/robot/openvla_utils.py`,
    `crop_and_resize` and `get_vla_action`, whose single precision and rounding these are).

    Args:
        pixels: RGB, shape (H, W, 3).
        size: Height and width of the result.
        fraction: Of the image's area.
    """
    share = np.float32(math.sqrt(fraction))
    rows, columns = (
        _positions(count, length, share) for count, length in zip(size, pixels.shape, strict=False)
    )
    (top, bottom, down), (left, right, along) = rows, columns

    def mixed_along(index: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        before, after = _unit(pixels[np.ix_(index, left)]), _unit(pixels[np.ix_(index, right)])
        after -= before
        after *= along[None, :, None]
        after += before
        return after

    above, below = mixed_along(top), mixed_along(bottom)
    mixed = above + (below - above) * down[:, None, None]
    # tf.image.convert_image_dtype: times 255.5 and cut off.
    return (np.clip(mixed, 0.0, 1.0) * np.float32(255.5)).astype(np.uint8)


def _unit(pixels: Pixels) -> npt.NDArray[np.float32]:
    unit = pixels.astype(np.float32)
    unit *= np.float32(1.0 / 255.0)
    return unit


_Ends = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]


def _positions(count: int, length: int, share: np.float32) -> _Ends:
    """The pixel before and after each of `count` values, and the share of the second."""
    last = np.float32(length - 1)
    start = (np.float32(1.0) - share) / np.float32(2.0)
    end = start + share
    step = (end - start) * last / np.float32(max(count - 1, 1))
    places = start * last + np.arange(count, dtype=np.float32) * step
    before = np.clip(np.floor(places), 0, last)
    after = np.minimum(before + 1, last)
    return before.astype(np.intp), after.astype(np.intp), (places - before).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """Which pixels make each value, and how much each of them counts, both (count, taps)."""

    pixels: npt.NDArray[np.intp]
    weights: npt.NDArray[np.int32]


def _along(pixels: Pixels, count: int, kind: Filter) -> Pixels:
    """Resize the first axis."""
    taps = _taps(pixels.shape[0], count, kind)
    whole = np.ascontiguousarray(pixels).reshape(len(pixels), -1).astype(np.int32)
    total = np.full((count, whole.shape[1]), 1 << (_BITS - 1), dtype=np.int32)
    part = np.empty_like(total)
    for index, weight in zip(taps.pixels.T, taps.weights.T, strict=True):
        np.take(whole, index, axis=0, out=part, mode="clip")
        part *= weight[:, None]
        total += part
    total >>= _BITS
    return np.clip(total, 0, 255).astype(np.uint8).reshape(count, *pixels.shape[1:])


@lru_cache(maxsize=32)
def _taps(length: int, count: int, kind: Filter) -> _Taps:
    scale = length / count
    wide = max(scale, 1.0)
    support = _SUPPORT[kind] * wide
    centres = (np.arange(count) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.intp), 0)
    end = np.minimum((centres + support + 0.5).astype(np.intp), length)
    index = first[:, None] + np.arange(int(np.max(end - first)))
    weights = _kernel((index - centres[:, None] + 0.5) / wide, kind)
    weights = np.where(index < end[:, None], weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = np.trunc(weights * (1 << _BITS) + np.copysign(0.5, weights)).astype(np.int32)
    return _Taps(np.minimum(index, length - 1), fixed)


def _kernel(x: npt.NDArray[np.float64], kind: Filter) -> npt.NDArray[np.float64]:
    x = np.abs(x)
    if kind == "bilinear":
        return np.maximum(1.0 - x, 0.0)
    if kind == "lanczos":
        return np.where(x < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)
    near = ((_CUBIC + 2.0) * x - (_CUBIC + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * _CUBIC
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))

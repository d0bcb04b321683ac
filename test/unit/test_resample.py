# SPDX-License-Identifier: Apache-2.0
"""Resizing: the pixels of Pillow, and of TensorFlow's crop_and_resize."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.resample import resampled, sampled


def pixels(height: int, width: int, seed: int = 0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    smaller=st.integers(1, 4),
    kind=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
def test_equals_pillow(size, smaller, kind):
    image = pytest.importorskip("PIL.Image")
    size = min(size), max(size)  # Pillow 13 resizes what is high and narrow in another order
    frame = pixels(size[0] * smaller, size[1] * smaller)
    wanted = image.fromarray(frame).resize(size[::-1], getattr(image, kind.upper()))
    np.testing.assert_array_equal(resampled(frame, size, kind), np.asarray(wanted))


@pytest.mark.parametrize("shape", [(480, 640), (720, 1280)])
def test_equals_pillow_where_the_aspect_is_not_kept(shape):
    image = pytest.importorskip("PIL.Image")
    wanted = image.fromarray(pixels(*shape)).resize((224, 224), image.BICUBIC)
    found = resampled(pixels(*shape), (224, 224), "bicubic")
    np.testing.assert_array_equal(found, np.asarray(wanted))


def test_enlarges_as_pillow_does():
    image = pytest.importorskip("PIL.Image")
    frame = pixels(20, 30)
    wanted = image.fromarray(frame).resize((75, 50), image.BICUBIC)
    np.testing.assert_array_equal(resampled(frame, (50, 75), "bicubic"), np.asarray(wanted))


def crop_and_resize(frame, size, fraction):
    """TensorFlow's `crop_and_resize_op.cc`, value by value, in double precision."""
    side = math.sqrt(fraction)
    low, found = (1 - side) / 2, np.empty((*size, 3))
    for y, x in np.ndindex(*size):
        at = [
            low * (length - 1) + index * side * (length - 1) / (count - 1)
            for index, count, length in (
                (y, size[0], frame.shape[0]),
                (x, size[1], frame.shape[1]),
            )
        ]
        (top, left), (bottom, right) = map(math.floor, at), map(math.ceil, at)
        down, along = at[0] - top, at[1] - left
        corners = [frame[r, c] / 255.0 for r in (top, bottom) for c in (left, right)]
        upper = corners[0] + (corners[1] - corners[0]) * along
        lower = corners[2] + (corners[3] - corners[2]) * along
        found[y, x] = upper + (lower - upper) * down
    return found * 255.5


@pytest.mark.parametrize("shape", [(96, 96), (48, 64), (31, 17)])
def test_equals_crop_and_resize(shape):
    frame = pixels(*shape)
    wanted = crop_and_resize(frame, (24, 20), 0.9)
    found = sampled(frame, (24, 20), 0.9)
    # Single precision may fall on the other side of a whole number.
    np.testing.assert_allclose(found + 0.5, wanted, atol=0.51)


def test_a_part_of_the_area_has_the_root_of_it_per_side():
    ramp = np.repeat(np.arange(101, dtype=np.uint8)[None, :, None], 101, axis=0).repeat(3, axis=2)
    part = sampled(ramp, (11, 11), 0.25)
    assert (part[0, 0, 0], part[0, -1, 0]) == (25, 75)


def test_one_colour_stays():
    frame = np.full((40, 50, 3), 200, dtype=np.uint8)
    for kind in ("bilinear", "bicubic", "lanczos"):
        assert np.all(resampled(frame, (13, 7), kind) == 200)
    assert np.all(sampled(frame, (13, 7), 0.9) == 200)

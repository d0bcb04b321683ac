# SPDX-License-Identifier: Apache-2.0
"""Image geometry and scaling: the pure parts of preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.image import Box, area_box, centre_box, fitted_box, scale_pixels

SIDE = st.integers(1, 600)


def test_a_box_cuts_rows_and_columns():
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(Box(1, 2, 3, 4).cut(pixels), pixels[1:4, 2:6])


def test_a_box_outside_the_image_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        Box(4, 0, 3, 8).cut(np.zeros((6, 8, 3), np.uint8))


def test_the_centre_box_leaves_the_same_on_both_sides():
    assert centre_box((240, 320, 3), (216, 288)) == Box(12, 16, 216, 288)


def test_the_area_box_takes_the_root_of_the_area_per_side():
    # openvla: 0.9 of the area of 224 x 224.
    assert area_box((224, 224, 3), 0.9) == Box(5, 5, 213, 213)
    assert area_box((224, 224, 3), 1.0) == Box(0, 0, 224, 224)


@given(SIDE, SIDE, st.floats(0.001, 1.0))
def test_an_area_box_is_never_empty_and_always_inside(height, width, fraction):
    box = area_box((height, width), fraction)
    assert box.height >= 1
    assert box.width >= 1
    assert box.cut(np.zeros((height, width, 3), np.uint8)).shape == (box.height, box.width, 3)


def test_a_fitted_image_keeps_its_aspect():
    assert fitted_box((480, 640), (224, 224), centred=True) == Box(28, 0, 168, 224)
    assert fitted_box((480, 640), (224, 224), centred=False) == Box(56, 0, 168, 224)
    assert fitted_box((640, 480), (224, 224), centred=False) == Box(0, 56, 224, 168)


@given(SIDE, SIDE, SIDE, SIDE, st.booleans())
def test_a_fitted_image_touches_the_canvas_and_lies_inside(h, w, height, width, centred):
    box = fitted_box((h, w), (height, width), centred=centred)
    assert box.top >= 0
    assert box.left >= 0
    assert box.top + box.height <= height
    assert box.left + box.width <= width
    # int() may lose one pixel to rounding, never more.
    assert box.height >= height - 1 or box.width >= width - 1


@pytest.mark.parametrize(
    ("value_range", "expected"),
    [
        ((0.0, 1.0), [0.0, 0.2, 1.0]),
        ((-1.0, 1.0), [-1.0, -0.6, 1.0]),
        ((0.0, 255.0), [0, 51, 255]),
    ],
)
def test_the_range_is_where_0_and_255_go(value_range, expected):
    pixels = np.array([[[0, 51, 255]]], dtype=np.uint8)
    scaled = scale_pixels(pixels, value_range, None, None)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0, 0], expected, atol=1e-6)


def test_mean_and_std_are_per_channel_and_after_the_range():
    pixels = np.full((2, 2, 3), 255, dtype=np.uint8)
    scaled = scale_pixels(pixels, (0.0, 1.0), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    np.testing.assert_allclose(scaled[0, 0], [2.2489, 2.4286, 2.64], atol=1e-4)
    assert np.all(pixels == 255)

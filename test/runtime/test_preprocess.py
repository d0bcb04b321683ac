# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: the fixed order, and equality with the code the policy was trained with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bundle_factory import JOINTS, document, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, ObservationError
from levine_policy_node.runtime.bundle import load_bundle, shipped_policies
from levine_policy_node.runtime.image_schema import ImageSpec
from levine_policy_node.runtime.image_tensor import image_tensor
from levine_policy_node.runtime.preprocess import Preprocessor

GOLDEN = Path(__file__).parents[1] / "data" / "so101_preprocess_golden.npz"
HOLD = str(GOLDEN.parent / "bundles" / "hold")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)


def golden_cases():
    """Every frame that the training code was run on, for every bundle made with that code."""
    with np.load(GOLDEN) as arrays:
        frames = sorted(name for name in arrays.files if name.startswith("frame_"))
    made_by_training = [HOLD, *(n for n in shipped_policies() if n == "so101_pick_place")]
    return [(bundle, frame) for bundle in made_by_training for frame in frames]


@pytest.mark.parametrize(("bundle", "frame"), golden_cases())
def test_tensors_equal_those_of_the_training_code(bundle, frame):
    _, camera, _ = frame.split("_")
    document = load_bundle(bundle).document
    described = document.observations[f"observation.images.{camera}"]
    with np.load(GOLDEN) as arrays:
        pixels, expected = arrays[frame], arrays[frame.replace("frame_", "tensor_")]
    np.testing.assert_array_equal(image_tensor(pixels, described.image)[0], expected)


def spec(**fields) -> ImageSpec:
    return ImageSpec.model_validate(fields)


def observation(**changes) -> Observation:
    values = {
        "stamp_ns": StampNs(1),
        "joint_positions": np.arange(6) / 10,
        "images": {"front": PIXELS, "wrist": PIXELS},
        "joint_velocities": np.arange(6.0),
    }
    return Observation(**{**values, **changes})


def preprocessor(tmp_path, **changes) -> Preprocessor:
    bundle = load_bundle(write_bundle(tmp_path / "bundle", document(**changes)))
    return Preprocessor(bundle, JOINTS)


def state_of(**changes):
    return {"kind": "state/joint/position", "names": list(JOINTS), **changes}


def test_numbers_are_padded_last(tmp_path):
    made = preprocessor(
        tmp_path,
        observations={
            "state": state_of(pad=8, scale=2.0, offset=1.0),
            "past": state_of(pad=7, history=2),
        },
    )
    tensors = made.tensors(observation())
    measured = np.arange(6) / 10
    np.testing.assert_allclose(tensors["state"], [[*(2.0 * measured + 1.0), 0.0, 0.0]], atol=1e-6)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: shape for name, (shape, _) in made.shapes.items()
    }
    np.testing.assert_array_equal(tensors["past"][0, :, 6], [0.0, 0.0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pad": 5}, "pad: 5, but 6 numbers are observed"),
        ({"pad": 8, "history": {"steps": 2, "axis": "flat"}}, "no columns to pad"),
    ],
)
def test_padding_that_does_not_fit_is_refused(tmp_path, changes, says):
    with pytest.raises(BundleError, match=says):
        preprocessor(tmp_path, observations={"state": state_of(**changes)})


def test_an_image_of_the_right_size_is_only_scaled_and_laid_out():
    tensor = image_tensor(PIXELS, spec(size=[48, 64]))
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    expected = (PIXELS.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(tensor, expected)


def test_uint8_hwc_is_the_camera_s_own_image():
    tensor = image_tensor(PIXELS, spec(size=[48, 64], dtype="uint8", layout="hwc"))
    assert tensor.dtype == np.uint8
    np.testing.assert_array_equal(tensor, PIXELS[None])


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "area"])
def test_the_order_is_crop_resize_scale_normalise_layout(interpolation):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    tensor = image_tensor(
        PIXELS,
        spec(
            crop=[4, 8, 40, 50],
            size=[16, 20],
            interpolation=interpolation,
            range=[-1, 1],
            mean=mean,
            std=std,
        ),
    )
    flag = {
        "nearest": cv2.INTER_NEAREST,
        "linear": cv2.INTER_LINEAR,
        "area": cv2.INTER_AREA,
    }[interpolation]
    resized = cv2.resize(np.ascontiguousarray(PIXELS[4:44, 8:58]), (20, 16), interpolation=flag)
    expected = (resized.astype(np.float64) / 255 * 2 - 1 - mean) / std
    np.testing.assert_allclose(tensor, expected.transpose(2, 0, 1)[None], atol=1e-5)


def test_the_centre_crop_comes_after_the_resize():
    whole = image_tensor(PIXELS, spec(size=[24, 32], layout="hwc"))
    part = image_tensor(
        PIXELS, spec(size=[24, 32], crop=[20, 22], interpolation="linear", layout="hwc")
    )
    np.testing.assert_array_equal(part, whole[:, 2:22, 5:27])


def test_an_area_crop_comes_before_the_resize():
    part = image_tensor(PIXELS, spec(size=[24, 32], crop=0.25, layout="hwc", dtype="uint8"))
    np.testing.assert_array_equal(part[0], PIXELS[12:36, 16:48])


def test_a_padded_image_keeps_its_aspect_between_black_bars():
    tensor = image_tensor(PIXELS, spec(size=[32, 32], resize="pad", range=[-1, 1], layout="hwc"))
    assert np.all(tensor[0, :4] == -1.0)
    assert np.all(tensor[0, 28:] == -1.0)
    inner = cv2.resize(PIXELS, (32, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(tensor[0, 4:28], inner / 127.5 - 1, atol=1e-5)


def test_smolvla_pads_above_and_to_the_left():
    tensor = image_tensor(PIXELS, spec(size=[32, 32], resize="pad_top_left", layout="hwc"))
    assert np.all(tensor[0, :8] == 0.0)
    assert np.any(tensor[0, 31] != 0.0)


def test_a_flipped_view_is_accepted():
    flipped = PIXELS[:, :, ::-1]
    np.testing.assert_array_equal(
        image_tensor(flipped, spec(size=[16, 16])),
        image_tensor(np.ascontiguousarray(flipped), spec(size=[16, 16])),
    )


def test_a_crop_that_does_not_fit_the_frame_is_an_observation_error():
    with pytest.raises(ObservationError, match="does not fit an image of 64x48"):
        image_tensor(PIXELS, spec(size=[16, 16], crop=[0, 0, 480, 640]))


SIDES = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(
    SIDES,
    SIDES,
    SIDES,
    SIDES,
    st.sampled_from(["stretch", "pad", "pad_top_left"]),
    st.sampled_from(["nearest", "linear", "area"]),
    st.sampled_from(["chw", "hwc"]),
)
def test_every_frame_gives_the_shape_the_document_says(h, w, height, width, resize, how, layout):
    made = spec(size=[height, width], resize=resize, interpolation=how, layout=layout)
    tensor = image_tensor(np.full((h, w, 3), 255, np.uint8), made)
    assert tensor.shape == (1, *made.shape)
    assert tensor.min() >= 0.0
    assert tensor.max() == 1.0


def test_vectors_are_selected_by_name_scaled_normalised_and_joined(tmp_path):
    made = preprocessor(
        tmp_path,
        **{
            "observations__observation.state": {
                "normalize": "mean_std",
                "terms": [
                    {
                        "kind": "state/joint/position",
                        "names": ["gripper", "shoulder_pan"],
                        "scale": [2.0, 1.0],
                        "offset": 0.5,
                    },
                    {"kind": "state/joint/velocity", "names": ["elbow_flex"]},
                ],
            }
        },
        stats={"observation.state": {"mean": [0.5, 0.5, 0.0], "std": [1.0, 2.0, 4.0]}},
    )
    tensors = made.tensors(observation())
    state = tensors["observation.state"]
    assert state.dtype == np.float32
    np.testing.assert_allclose(state, [[1.0, 0.0, 0.5]], atol=1e-6)
    shapes = made.shapes
    assert {name: (value.shape, str(value.dtype)) for name, value in tensors.items()} == shapes


def test_a_tensor_and_a_camera_may_have_other_names(tmp_path):
    made = preprocessor(
        tmp_path,
        **{
            "observations__observation.images.front__tensor": "pixels",
            "observations__observation.images.front__camera": "wrist",
        },
    )
    assert "pixels" in made.tensors(observation(images={"wrist": PIXELS}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": {"front": PIXELS}}, "no image of camera wrist"),
        ({"joint_positions": np.full(6, np.nan)}, "not finite"),
    ],
)
def test_an_incomplete_observation_is_never_filled_up(tmp_path, changes, expected):
    with pytest.raises(ObservationError, match=expected):
        preprocessor(tmp_path).tensors(observation(**changes))


def test_velocities_that_are_not_measured_are_an_error(tmp_path):
    made = preprocessor(
        tmp_path, **{"observations__observation.state__kind": "state/joint/velocity"}
    )
    with pytest.raises(ObservationError, match="velocities"):
        made.tensors(observation(joint_velocities=None))

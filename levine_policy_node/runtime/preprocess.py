# SPDX-License-Identifier: Apache-2.0
"""From an observation to the tensors of a graph, exactly as in training.

The same functions serve the live path, `levine eval --direct` and the golden test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from levine_policy_node.core import image
from levine_policy_node.core.normalization import Normalization
from levine_policy_node.core.observation import Observation, Pixels
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ObservationError
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.image_schema import ImageSpec
from levine_policy_node.runtime.observation_schema import (
    ImageObservation,
    JointTerm,
    Numbers,
    PolicyInput,
)

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
    try:
        cropped = _crop(pixels, spec)
    except ValueError as error:
        raise ObservationError(str(error)) from error
    sized = _resize(cropped, spec)
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
    # cv2 refuses the negative strides of a flipped view.
    resized = cv2.resize(
        np.ascontiguousarray(pixels),
        (box.width, box.height),
        interpolation=_INTERPOLATION[spec.interpolation],
    )
    if (box.height, box.width) == (height, width):
        return resized.astype(np.uint8, copy=False)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = resized
    return canvas


@dataclass(frozen=True, slots=True, eq=False)
class _Term:
    velocity: bool
    columns: npt.NDArray[np.intp]
    scale: FloatArray
    offset: FloatArray


class Preprocessor:
    """Builds the graph inputs a bundle asks for.

    Args:
        bundle: A bundle that fits a robot with these joints.
        joint_names: The joint order of observations.
    """

    def __init__(self, bundle: Bundle, joint_names: Sequence[str]) -> None:
        document = bundle.document
        self._images: dict[str, tuple[str, ImageSpec]] = {}
        self._vectors: dict[str, tuple[tuple[_Term, ...], Normalization | None]] = {}
        for feature, spec in document.observations.items():
            tensor = spec.tensor or feature
            if isinstance(spec, ImageObservation):
                self._images[tensor] = (document.cameras[feature], spec.image)
            elif not isinstance(spec, PolicyInput):
                terms = tuple(_term(term, joint_names) for term in spec.terms)
                self._vectors[tensor] = (terms, bundle.normalizations.get(feature))

    @property
    def shapes(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """Shape with batch axis and dtype of every tensor this builds."""
        images = {name: ((1, *spec.shape), spec.dtype) for name, (_, spec) in self._images.items()}
        vectors = {
            name: ((1, sum(len(term.columns) for term in terms)), "float32")
            for name, (terms, _) in self._vectors.items()
        }
        return {**vectors, **images}

    def tensors(self, observation: Observation) -> dict[str, npt.NDArray[Any]]:
        """Build the graph inputs of one observation.

        Raises:
            ObservationError: If the observation lacks a camera or the joint velocities, or has a
                value that is not finite.
        """
        tensors: dict[str, npt.NDArray[Any]] = {}
        for name, (terms, normalization) in self._vectors.items():
            values = np.concatenate([_select(term, observation) for term in terms])
            if normalization is not None:
                values = normalization.apply(values)
            if not np.all(np.isfinite(values)):
                raise ObservationError(f"{name}: joint state is not finite")
            tensors[name] = values[None].astype(np.float32)
        for name, (camera, spec) in self._images.items():
            if camera not in observation.images:
                raise ObservationError(f"{name}: no image of camera {camera}")
            tensors[name] = image_tensor(observation.images[camera], spec)
        return tensors


def _term(term: JointTerm, joint_names: Sequence[str]) -> _Term:
    order = list(joint_names)
    count = len(term.names)
    return _Term(
        velocity=term.kind == "state/joint/velocity",
        columns=np.array([order.index(name) for name in term.names]),
        scale=columns(term.scale, count),
        offset=columns(term.offset, count),
    )


def columns(value: Numbers, count: int) -> FloatArray:
    """One number per column, shape (count,)."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))


def _select(term: _Term, observation: Observation) -> FloatArray:
    source = observation.joint_velocities if term.velocity else observation.joint_positions
    if source is None:
        raise ObservationError("the policy observes joint velocities, which are not measured")
    return source[term.columns] * term.scale + term.offset

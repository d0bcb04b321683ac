# SPDX-License-Identifier: Apache-2.0
"""What a policy's images look like after crop and resize, as pictures a person can judge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from levine_policy_node.core.observation import Pixels
from levine_policy_node.errors import ConfigError, ObservationError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.image_schema import ImageSpec
from levine_policy_node.runtime.image_tensor import image_tensor
from levine_policy_node.runtime.observation_schema import ImageObservation

_CELLS = 8
_MAX_SIDE = 8192


def write_previews(
    bundle: Bundle, robot: Robot, frames: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    """Write one PNG per image that a policy sees; returns them by observation.

    Args:
        bundle: The bundle; it fits the robot.
        robot: Its cameras.
        frames: A picture that a camera took, by camera; a test pattern stands in for others.
        folder: Where to; made if needed.

    Raises:
        ConfigError: If a frame is for no camera of the policy, is no picture or is of another
            size than the camera, or the folder cannot be written to.
    """
    document = bundle.for_robot(robot).document
    unknown = sorted(set(frames) - set(document.cameras.values()))
    if unknown:
        raise ConfigError(
            "levine check",
            "--frame",
            f"the policy sees no camera {unknown[0]}",
            f"It sees {', '.join(sorted(set(document.cameras.values()))) or 'none'}",
        )
    written: dict[str, Path] = {}
    for key, spec in document.observations.items():
        camera = document.cameras.get(key)
        if not isinstance(spec, ImageObservation) or camera is None:
            continue
        stream = robot.cameras[camera]
        size = stream.height, stream.width
        frame = _read(frames[camera], size) if camera in frames else pattern_frame(*size)
        try:
            seen = shown(frame, spec.image)
        except ObservationError as error:
            raise ConfigError(str(bundle.path), f"observations.{key}.image", str(error)) from error
        path = folder / (re.sub(r"[^A-Za-z0-9_.-]", "_", key) + ".png")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_png(seen))
        except OSError as error:
            raise ConfigError(str(path), "", f"cannot be written ({error.strerror})") from error
        written[key] = path
    return written


def shown(frame: Pixels, spec: ImageSpec) -> Pixels:
    """What the network is given of a frame, as pixels (H, W, 3) again.

    Raises:
        ObservationError: If the crop does not fit the frame.
    """
    values = image_tensor(frame, spec)[0].astype(np.float64)
    if spec.layout == "chw":
        values = values.transpose(1, 2, 0)
    if spec.dtype == "float32":
        if spec.mean is not None and spec.std is not None:
            values = values * np.array(spec.std) + np.array(spec.mean)
        low, high = spec.range
        values = (values - low) / (high - low) * 255.0
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def pattern_frame(height: int, width: int) -> Pixels:
    """A frame that shows what a crop leaves: a grid, a circle, each corner in a colour of its own.

    Top left is red, top right green, bottom left blue, bottom right white.
    """
    rows, columns = np.mgrid[0:height, 0:width]
    bright = (rows * _CELLS // height + columns * _CELLS // width) % 2
    pixels = np.repeat((80 + 60 * bright)[..., None], 3, axis=2).astype(np.uint8)
    corner = max(1, height // 10), max(1, width // 10)
    for at, colour in (
        (np.s_[: corner[0], : corner[1]], (255, 0, 0)),
        (np.s_[: corner[0], -corner[1] :], (0, 255, 0)),
        (np.s_[-corner[0] :, : corner[1]], (0, 0, 255)),
        (np.s_[-corner[0] :, -corner[1] :], (255, 255, 255)),
    ):
        pixels[at] = colour
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    radius = 0.4 * min(height, width)
    pixels[np.abs(away - radius) < max(1.0, radius / 20)] = (255, 255, 0)
    return pixels


def _read(path: Path, size: tuple[int, int]) -> Pixels:
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read ({error.strerror})") from error
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if picture is None or max(picture.shape[:2]) > _MAX_SIDE:
        raise ConfigError(str(path), "", "is no picture", "Give a PNG or JPEG file")
    if picture.shape[:2] != size:
        raise ConfigError(
            str(path),
            "",
            f"is {picture.shape[1]} x {picture.shape[0]}, the camera of the robot file "
            f"{size[1]} x {size[0]}",
            "Give a picture as the camera takes it",
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _png(pixels: Pixels) -> bytes:
    done, content = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(0, "no PNG encoder")
    return content.tobytes()

# SPDX-License-Identifier: Apache-2.0
"""Camera messages as pixels, the same for whoever drives the arm and whoever reads a recording."""

from __future__ import annotations

import cv2
import numpy as np

from levine_policy_node.core.message_values import MessageError
from levine_policy_node.core.observation import Pixels


def device_topic(camera: str) -> str:
    """Topic that `camera_ingest` publishes a camera it reads from a device on."""
    return f"camera/{camera}/image"


def raw_pixels(encoding: str, height: int, width: int, step: int, data: memoryview) -> Pixels:
    """RGB pixels (H, W, 3) of the fields of a sensor_msgs/Image, without copying them.

    Raises:
        MessageError: If the encoding is not rgb8 or bgr8, or the size does not fit the data.
    """
    if encoding not in {"rgb8", "bgr8"}:
        raise MessageError(f"encoding {encoding!r}; expected rgb8 or bgr8")
    found = np.frombuffer(data, dtype=np.uint8)
    if step < 3 * width or found.size != step * height or height * width == 0:
        raise MessageError(f"{found.size} bytes do not make {width}x{height} of {encoding}")
    pixels = found.reshape(height, step)[:, : 3 * width].reshape(height, width, 3)
    return pixels if encoding == "rgb8" else pixels[:, :, ::-1]


def compressed_pixels(data: memoryview, image_format: str) -> Pixels:
    """Decode the JPEG or PNG of a sensor_msgs/CompressedImage into RGB pixels (H, W, 3).

    Raises:
        MessageError: If it cannot be decoded.
    """
    encoded = np.frombuffer(data, dtype=np.uint8)
    try:
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise MessageError(f"cannot decode {image_format!r}") from error
    if decoded is None:
        raise MessageError(f"cannot decode {image_format!r}, {encoded.size} bytes")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)

# SPDX-License-Identifier: Apache-2.0
"""Raw camera frames to JPEG, as image_transport's compressed topics carry them."""

from __future__ import annotations

import cv2
import numpy as np

from levine_policy_node.core.cdr import CdrError, compressed_image, read_image

_TO_BGR = {"rgb8": cv2.COLOR_RGB2BGR, "bgr8": None, "mono8": None}


def jpeg_from_image(data: bytes, quality: int) -> bytes | None:
    """Turn a serialized sensor_msgs/Image into a serialized CompressedImage.

    Args:
        data: The Image as CDR.
        quality: JPEG quality, 1 to 100.

    Returns:
        The CompressedImage as CDR with the same header, or None for an image that JPEG cannot
        hold (depth, 16 bit, damaged), which is then recorded as it is.
    """
    try:
        image = read_image(data)
    except CdrError:
        return None
    channels = 1 if image.encoding == "mono8" else 3
    row = channels * image.width
    if image.encoding not in _TO_BGR or image.step < row or not image.height * image.width:
        return None
    if len(image.data) != image.step * image.height:
        return None
    pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)[:, :row]
    pixels = pixels.reshape(image.height, image.width, channels)
    conversion = _TO_BGR[image.encoding]
    if conversion is not None:
        pixels = cv2.cvtColor(pixels, conversion)
    try:
        done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:  # wider or higher than JPEG's 65535 pixels
        return None
    if not done:
        return None
    # The format string of compressed_image_transport: source encoding; codec, stored encoding.
    stored = "" if image.encoding == "mono8" else "bgr8"
    text = f"{image.encoding}; jpeg compressed {stored}"
    return compressed_image(image.header, text, encoded.tobytes())

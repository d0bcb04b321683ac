# SPDX-License-Identifier: Apache-2.0
"""Pictures in the columns and records of data sets."""

from __future__ import annotations

import cv2
import numpy as np

from levine_policy_node.core.observation import Pixels

_PNG_LEVEL = 1


def png_bytes(pixels: Pixels) -> bytes:
    """Encode RGB pixels (H, W, 3) without loss, quickly rather than small."""
    bgr = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
    return encoded.tobytes()

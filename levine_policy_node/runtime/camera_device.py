# SPDX-License-Identifier: Apache-2.0
"""A camera read directly from a device, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import cv2
import numpy as np

from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import CameraStream

_REOPEN_AFTER_S = 1.0


class CameraDevice:
    """Grabs frames as they come and hands each on with its capture time.

    A device that stops giving frames is opened again every second; meanwhile its frames grow old,
    which is what the policy's owner acts on.

    Args:
        name: Camera name in the robot file.
        stream: Device path or index, size, rate and delay of the camera.
        now: Reads the ROS clock; called in the thread.
        on_frame: Gets capture time and RGB pixels (H, W, 3); called in the thread.

    Raises:
        ConfigError: If the device cannot be opened.
    """

    def __init__(
        self,
        name: str,
        stream: CameraStream,
        now: Callable[[], StampNs],
        on_frame: Callable[[StampNs, Pixels], None],
    ) -> None:
        self._stream = stream
        self._now = now
        self._on_frame = on_frame
        self._stop = threading.Event()
        self._capture = _open(stream)
        if not self._capture.isOpened():
            raise ConfigError(
                "robot file",
                f"cameras.{name}.device",
                f"'{stream.device}' cannot be opened",
                "Is it plugged in, and may this user read it (group video)?",
            )
        self._thread = threading.Thread(target=self._run, name=f"camera_{name}", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop the thread and release the device; safe to call twice."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        delay_ns = nanoseconds(self._stream.capture_delay_s)
        while not self._stop.is_set():
            if not self._capture.grab():
                self._capture.release()
                self._stop.wait(_REOPEN_AFTER_S)
                self._capture = _open(self._stream)
                continue
            # Decoding comes after the grab: its time must not be in the stamp.
            stamp_ns = StampNs(self._now() - delay_ns)
            good, decoded = self._capture.retrieve()
            if good:
                pixels = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
                self._on_frame(stamp_ns, pixels)
        self._capture.release()


def _open(stream: CameraStream) -> cv2.VideoCapture:
    device = stream.device or ""
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, stream.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, stream.height)
    capture.set(cv2.CAP_PROP_FPS, stream.rate_hz)
    # An old frame in the driver's queue would carry the stamp of a new one.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture

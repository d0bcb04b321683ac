# SPDX-License-Identifier: Apache-2.0
"""Where camera frames wait in memory for the policy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from levine_policy_node.core.alignment import StreamFault
from levine_policy_node.core.frame_checks import (
    CameraHealth,
    FrameLimits,
    after_frame,
    after_refusal,
)
from levine_policy_node.core.history import History
from levine_policy_node.core.observation import Frame, Pixels
from levine_policy_node.core.units import StampNs

_CAPACITY = 16
_ROW_STRIDE = 16


class FrameStore:
    """The newest frames of every camera.

    One thread writes each camera, any thread reads. Nothing is locked: a history is an immutable
    value, and replacing it is one assignment.
    """

    def __init__(self) -> None:
        self._histories: dict[str, History[Frame]] = {}
        self._counts: dict[str, int] = {}
        self._listener: Callable[[StampNs], None] | None = None
        self._capacity = _CAPACITY
        self._limits: FrameLimits | None = None
        self._health: dict[str, CameraHealth] = {}

    def watch(self, limits: FrameLimits) -> None:
        """Judge every frame from now on; see `flaw`."""
        self._limits = limits

    def keep(self, frames: int) -> None:
        """Keep at least so many frames of every camera, for a policy that sees the past."""
        self._capacity = max(self._capacity, frames)

    def put(self, camera: str, stamp_ns: StampNs, pixels: Pixels) -> None:
        """Add a frame and tell the listener.

        Args:
            camera: Name in the robot file.
            stamp_ns: Capture time on the ROS clock [ns].
            pixels: RGB, shape (H, W, 3); the caller must not write to it afterwards.
        """
        history = self.history(camera)
        before = history.newest
        same = before is not None and _identical(before.pixels, pixels)
        repeats = before.repeats + 1 if before is not None and same else 0
        frame = Frame(stamp_ns, pixels, repeats)
        self._histories[camera] = history.extended(frame, self._capacity)
        self._counts[camera] = self.count(camera) + 1
        if self._limits is not None:
            health = self._health.get(camera, CameraHealth())
            self._health[camera] = after_frame(health, camera, frame, self._limits)
        if self._listener is not None:
            self._listener(stamp_ns)

    def refuse(self, camera: str, reason: str) -> None:
        """Note a message that is no frame, and tell the listener; in the camera's thread."""
        health = self._health.get(camera, CameraHealth())
        self._health[camera] = after_refusal(health, camera, reason)
        if self._listener is not None:
            self._listener(StampNs(0))

    def flaw(self, camera: str) -> StreamFault | None:
        """Why the frames of one camera cannot be used now; None if they can."""
        health = self._health.get(camera)
        return None if health is None else health.flaw

    def history(self, camera: str) -> History[Frame]:
        """The newest frames of one camera; empty if there have been none."""
        return self._histories.get(camera, History())

    def count(self, camera: str) -> int:
        """How many frames of one camera have been put."""
        return self._counts.get(camera, 0)

    def listen(self, listener: Callable[[StampNs], None] | None) -> None:
        """Call `listener` with each new frame's stamp, in the thread that puts the frame.

        A refused frame has the stamp 0.
        """
        self._listener = listener


def _identical(before: Pixels, after: Pixels) -> bool:
    """Bit-identical; a few rows decide for every camera that has noise."""
    if before.shape != after.shape:
        return False
    rows = slice(None, None, _ROW_STRIDE)
    return np.array_equal(before[rows], after[rows]) and np.array_equal(before, after)

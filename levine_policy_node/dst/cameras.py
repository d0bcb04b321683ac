# SPDX-License-Identifier: Apache-2.0
"""The process of a camera driver: small noisy images with the time of their capture."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.trace import Trace

PERIOD_S = 1.0 / 30.0
_CAPTURE_S = 0.01
_HEIGHT, _WIDTH = 16, 16

Pixels = npt.NDArray[np.uint8]
Picture = Literal["fine", "frozen", "black", "white", "reversed", "late", "smaller"]


class CameraProcess(Process):
    """Publishes 30 frames per second.

    Attributes:
        picture: What is wrong with them.
    """

    def __init__(
        self, scheduler: Scheduler, trace: Trace, bus: Bus, clock: RosClock, seed: int
    ) -> None:
        super().__init__("camera", scheduler, trace)
        self._bus, self._clock = bus, clock
        self._rng = np.random.default_rng(seed)
        self.picture: Picture = "fine"
        self._last: Pixels = self._noisy()

    def boot(self) -> None:
        """Begin to capture."""
        first_s = float(self._rng.uniform(0.0, PERIOD_S))
        self.every(PERIOD_S, self._capture, first_s=first_s)

    def _noisy(self) -> Pixels:
        return self._rng.integers(90, 130, (_HEIGHT, _WIDTH, 3)).astype(np.uint8)

    def _capture(self) -> None:
        stamp_ns = int(self._clock.now()) - nanoseconds(_CAPTURE_S)
        pixels = self._noisy()
        if self.picture == "frozen":
            pixels = self._last
        elif self.picture in {"black", "white"}:
            pixels = np.full_like(pixels, 0 if self.picture == "black" else 255)
        elif self.picture == "reversed":
            stamp_ns -= nanoseconds(2.0 * float(self._rng.uniform(0.0, 1.0)))
        elif self.picture == "late":
            stamp_ns -= nanoseconds(0.3)
        elif self.picture == "smaller":
            pixels = pixels[::2, ::2]
        self._last = pixels
        self._bus.publish(self, "camera/image", (StampNs(stamp_ns), pixels))

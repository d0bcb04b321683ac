# SPDX-License-Identifier: Apache-2.0
"""Renders simulated cameras in a thread of their own, so physics never waits for a picture."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.units import NS_PER_S, StampNs, nanoseconds, seconds
from levine_policy_node.errors import LevineError
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.sim.scene import CameraRenderer, ImageArray, SceneState

Publish = Callable[[str, ImageArray, StampNs], None]

START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class SimCamera:
    """One simulated camera."""

    name: str
    topic: str
    width: int
    height: int
    rate_hz: float


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """How the cameras differ from ideal ones.

    Attributes:
        delay_s: From capture until the frame is published; its stamp stays the capture [s].
        noise: Standard deviation of each pixel, in grey levels of 255.
    """

    delay_s: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class _Capture:
    stamp_ns: StampNs
    state: SceneState
    run: int
    noise_seed: tuple[int, int]


class CameraThread:
    """Takes scene states from the control loop and publishes what the cameras see in them.

    Of a camera that cannot keep up, the newest capture is rendered and older ones are dropped.
    """

    def __init__(
        self, cameras: Sequence[SimCamera], publish: Publish, options: CameraOptions
    ) -> None:
        """Prepare the thread; `publish(name, pixels, stamp)` is called in it."""
        self._cameras = {camera.name: camera for camera in cameras}
        self._publish = publish
        self._options = options
        self._condition = threading.Condition()
        self._pending: dict[str, _Capture] = {}
        self._due_ns = dict.fromkeys(self._cameras, 0)
        self._run = self._seed = self._number = 0
        self._stopping = False
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._main, name="sim_cameras", daemon=True)
        self.failure: BaseException | None = None
        self.published = dict.fromkeys(self._cameras, 0)

    def start(self) -> None:
        """Open the renderers and start.

        Raises:
            SystemDependencyError: If there is no library to render with.
        """
        self._thread.start()
        self._opened.wait(START_TIMEOUT_S)
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Stop and free the renderers; safe to call twice and before `start`."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join()

    def restart(self, seed: int) -> None:
        """Begin a new episode: what was captured before is not shown any more."""
        with self._condition:
            self._run += 1
            self._seed, self._number = seed, 0
            self._pending.clear()
            self._due_ns = dict.fromkeys(self._cameras, 0)

    def due(self, now_ns: StampNs) -> list[str]:
        """Names of the cameras whose shutter opens now."""
        names = [name for name, due_ns in self._due_ns.items() if now_ns >= due_ns]
        for name in names:
            period_ns = nanoseconds(1.0 / self._cameras[name].rate_hz)
            late = now_ns - self._due_ns[name] > NS_PER_S
            self._due_ns[name] = (now_ns if late else self._due_ns[name]) + period_ns
        return names

    def capture(self, names: Sequence[str], stamp_ns: StampNs, state: SceneState) -> None:
        """Let `names` see `state`, captured at `stamp_ns`."""
        with self._condition:
            self._number += 1
            for name in names:
                self._pending[name] = _Capture(
                    stamp_ns, state, self._run, (self._seed, self._number)
                )
            self._condition.notify()

    def _main(self) -> None:
        renderers: dict[tuple[int, int], CameraRenderer] = {}
        try:
            for camera in self._cameras.values():
                size = (camera.height, camera.width)
                if size not in renderers:
                    renderers[size] = CameraRenderer(height=size[0], width=size[1])
            self._opened.set()
            self._loop(renderers)
        except LevineError as error:
            self.failure = error
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._opened.set()
            for renderer in renderers.values():
                renderer.close()

    def _loop(self, renderers: dict[tuple[int, int], CameraRenderer]) -> None:
        outbox: deque[tuple[int, int, str, ImageArray, StampNs]] = deque()
        while True:
            captures = self._take(outbox[0][0] if outbox else None)
            if captures is None:
                return
            for name, capture in captures.items():
                camera = self._cameras[name]
                pixels = renderers[camera.height, camera.width].render(name, capture.state)
                due_ns = steady_now() + nanoseconds(self._options.delay_s)
                outbox.append(
                    (
                        due_ns,
                        capture.run,
                        name,
                        self._noisy(pixels, name, capture),
                        capture.stamp_ns,
                    )
                )
                self._send(outbox)
            self._send(outbox)

    def _take(self, until_ns: int | None) -> dict[str, _Capture] | None:
        """Wait for captures, at most until `until_ns` (steady); None when stopping."""
        with self._condition:
            if not self._pending and not self._stopping:
                wait_s = None if until_ns is None else max(seconds(until_ns - steady_now()), 0.0)
                self._condition.wait(wait_s)
            if self._stopping:
                return None
            captures, self._pending = self._pending, {}
            return captures

    def _send(self, outbox: deque[tuple[int, int, str, ImageArray, StampNs]]) -> None:
        while outbox and outbox[0][0] <= steady_now():
            _, run, name, pixels, stamp_ns = outbox.popleft()
            if run == self._run:
                self._publish(name, pixels, stamp_ns)
                self.published[name] += 1

    def _noisy(self, pixels: ImageArray, name: str, capture: _Capture) -> ImageArray:
        if self._options.noise <= 0.0:
            return pixels
        index = list(self._cameras).index(name)
        noise = np.random.default_rng([*capture.noise_seed, index]).standard_normal(
            pixels.shape, dtype=np.float32
        )
        return np.clip(pixels + self._options.noise * noise, 0, 255).astype(np.uint8)

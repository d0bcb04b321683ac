# SPDX-License-Identifier: Apache-2.0
"""What a camera's frames say about the camera: frozen, dark, bright, without a picture, changed.

A camera that fails goes on sending: fresh stamps, the same pixels, or none worth the name. The
payload is what tells. Every judgement is made with the frame that completes it, so a frozen or
dark camera is told with its third bad frame, and one that changes its size with the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levine_policy_node.core.alignment import FROZEN_FRAMES, Problem, StreamFault
from levine_policy_node.core.observation import Frame, Pixels

POOR_FRAMES = 3
"""So many frames in a row without a picture are a fault; one may be a flash."""

_ROW_STRIDE = 16
_COLUMN_STRIDE = 8


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a frame must be like; brightness is 0 to 255.

    Attributes:
        dark: Least mean brightness; 0 does not watch it.
        bright: Largest mean brightness; 255 does not watch it.
        spread: Least standard deviation of the pixels of a colour; 0 does not watch it. A sensor's
            noise alone is twice the default.
        noiseless: Cameras that are rendered, and rightly repeat themselves while nothing moves.
            `core.alignment` tells whether those are frozen.
    """

    dark: float = 4.0
    bright: float = 251.0
    spread: float = 0.25
    noiseless: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """What is remembered of one camera.

    Attributes:
        shape: Of its first frame (H, W, C), which all later ones must have; None before it.
        poor: What is wrong with the picture of the newest frame.
        run: How many frames in a row that has been wrong.
        flaw: Why the camera cannot be used now; None if it can.
    """

    shape: tuple[int, ...] | None = None
    poor: Problem | None = None
    run: int = 0
    flaw: StreamFault | None = None


def after_frame(
    health: CameraHealth, camera: str, frame: Frame, limits: FrameLimits
) -> CameraHealth:
    """Judge the newest frame of a camera.

    Args:
        health: What was known before.
        camera: Its name in the robot file.
        frame: The newest frame, with its count of repeats.
        limits: What a frame must be like.
    """
    shape = health.shape or frame.pixels.shape
    poor = picture_problem(frame.pixels, limits)
    run = health.run + 1 if poor is not None and poor is health.poor else int(poor is not None)
    known = CameraHealth(shape, poor, run)
    stream = f"camera {camera}"
    if frame.pixels.shape != shape:
        detail = f"{_size(frame.pixels.shape)} after {_size(shape)}"
        return replace(known, flaw=StreamFault(stream, Problem.RESIZED, detail=detail))
    if frame.repeats + 1 >= FROZEN_FRAMES and camera not in limits.noiseless:
        detail = f"{frame.repeats + 1} frames"
        return replace(known, flaw=StreamFault(stream, Problem.REPEATED, detail=detail))
    if poor is not None and run >= POOR_FRAMES:
        return replace(known, flaw=StreamFault(stream, poor, detail=f"{run} frames"))
    return known


def after_refusal(health: CameraHealth, camera: str, reason: str) -> CameraHealth:
    """Note a message of a camera that is no frame; the next good frame forgets it."""
    return replace(health, flaw=StreamFault(f"camera {camera}", Problem.UNREADABLE, detail=reason))


def picture_problem(pixels: Pixels, limits: FrameLimits) -> Problem | None:
    """What is wrong with a single picture (H, W, 3), from a part of its rows and columns."""
    sampled = pixels[::_ROW_STRIDE, ::_COLUMN_STRIDE].astype(np.float32)
    mean = float(sampled.mean())
    if mean < limits.dark:
        return Problem.DARK
    if mean > limits.bright:
        return Problem.BRIGHT
    if float(sampled.std(axis=(0, 1)).max()) < limits.spread:
        return Problem.UNIFORM
    return None


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"

# SPDX-License-Identifier: Apache-2.0
"""H.264 video that a data loader can seek in.

Every second frame stands for itself (`g=2`), so a random frame costs two decoded ones, and no
frame is told from a later one. crf 18 keeps noise that a network may have to see through.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from levine_policy_node.core.observation import Pixels
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.export.packages import package

CODEC = "h264"
KEYFRAME_EVERY = 2
CRF = 18
PRESET = "veryfast"
# What x264 writes depends on the number of its threads, which is that of processors by default.
_THREADS = 1


def pixel_format(height: int, width: int) -> str:
    """Colours at half resolution, as all players know them; sizes that are odd have no halves."""
    return "yuv444p" if height % 2 or width % 2 else "yuv420p"


class VideoFile:
    """One MP4 that grows frame by frame; frame k is shown at k / fps."""

    def __init__(self, path: Path, fps: int, height: int, width: int) -> None:
        self._path = path
        self._av = package("av", "video in an export")
        try:
            self._container: Any = self._av.open(str(path), "w", format="mp4")
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written ({error.strerror})") from error
        options = {
            "g": str(KEYFRAME_EVERY),
            "crf": str(CRF),
            "preset": PRESET,
            "bf": "0",
            "x264-params": f"threads={_THREADS}:lookahead_threads={_THREADS}",
        }
        self._stream = self._container.add_stream("libx264", rate=fps, options=options)
        self._stream.codec_context.thread_count = _THREADS
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = pixel_format(height, width)

    def add(self, pixels: Pixels) -> None:
        """Append a frame (H, W, 3), RGB."""
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file; it is on the disk on return."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        with self._path.open("rb") as stream:
            os.fsync(stream.fileno())

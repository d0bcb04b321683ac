# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: a window where there is a display, and a video file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from levine_policy_node.ros import qos
from levine_policy_node.ros.messages import image_from_msg


class DemoView:
    """Receives the view camera's frames and writes the mode into them.

    Attributes:
        video: The file being written, None without one.
    """

    def __init__(self, video: Path | None, *, fps: float, window: bool) -> None:
        self.video = video
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._window = _open_window() if window else None
        self._mode = ""

    @property
    def wants_frames(self) -> bool:
        """Whether anything is shown or written, so that frames need rendering."""
        return self.video is not None or self._window is not None

    def attach(self, node: Node) -> None:
        """Subscribe to the view camera on `node`."""
        if self.wants_frames:
            node.create_subscription(Image, "camera/view/image", self._on_frame, qos.IMAGE_IN)
            node.create_subscription(String, "supervisor/mode", self._on_mode, qos.MODE)

    def close(self) -> None:
        """Finish the video and close the window."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        elif self.video is not None:
            self.video = None
        if self._window is not None:
            self._window.destroy()
            self._window = None

    def _on_mode(self, message: String) -> None:
        self._mode = message.data

    def _on_frame(self, message: Image) -> None:
        frame = np.ascontiguousarray(image_from_msg(message))
        cv2.putText(
            frame,
            self._mode,
            (10, 26),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.7,
            (20, 20, 20),
            2,
            cv2.LINE_AA,
        )
        if self.video is not None:
            if self._writer is None:
                self._writer = _video_writer(self.video, self._fps, frame.shape)
            self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        if self._window is not None and not self._window.show(frame):
            self._window = None


class _Window:
    """A Tk window that shows RGB frames; Tk reads PPM, so no image library is needed."""

    def __init__(self, tk: Any) -> None:
        self._tk = tk
        self._root = tk.Tk()
        self._root.title("levine demo")
        self._label = tk.Label(self._root)
        self._label.pack()
        self._photo: Any = None

    def show(self, frame: np.ndarray) -> bool:
        """Show a frame; False once the user has closed the window."""
        height, width = frame.shape[:2]
        try:
            ppm = b"P6 %d %d 255 " % (width, height) + frame.tobytes()
            self._photo = self._tk.PhotoImage(data=ppm, format="PPM")
            self._label.configure(image=self._photo)
            self._root.update()
        except self._tk.TclError:
            return False
        return True

    def destroy(self) -> None:
        self._root.destroy()


def _open_window() -> _Window | None:
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return None
    try:
        import tkinter
    except ImportError:
        print("no window: Python has no tkinter (apt-get install python3-tk)")
        return None
    try:
        return _Window(tkinter)
    except tkinter.TclError as error:
        print(f"no window: {error}")
        return None


def _video_writer(path: Path, fps: float, shape: tuple[int, ...]) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    return cv2.VideoWriter(str(path), codec, fps, (shape[1], shape[0]))

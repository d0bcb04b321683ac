# SPDX-License-Identifier: Apache-2.0
"""Record what was commanded, what was measured and what the cameras saw, with their stamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState

from levine_policy_node.core.delay_estimate import Signal
from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs
from levine_policy_node.robot import Robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.camera_topics import (
    camera_topic,
    capture_time,
    compressed_image_from_msg,
)
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.messages import MessageError, by_name, image_from_msg

_LARGEST_SIDE = 32


@dataclass(slots=True)
class Track:
    """Stamped values of one stream, while they come in."""

    stamps_ns: list[StampNs] = field(default_factory=list[StampNs])
    values: list[FloatArray] = field(default_factory=list[FloatArray])

    def add(self, stamp_ns: StampNs, value: FloatArray) -> None:
        """Keep a value, unless its stamp is not newer than the last."""
        if not self.stamps_ns or stamp_ns > self.stamps_ns[-1]:
            self.stamps_ns.append(stamp_ns)
            self.values.append(value)

    def clear(self) -> None:
        """Forget everything."""
        self.stamps_ns.clear()
        self.values.clear()


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One motion of one joint. Times are [s] since a common instant.

    Attributes:
        commanded: What the joint was told to be (`supervisor/command`).
        measured: What its encoder said (`joint_states`).
        cameras: Stamps (N,) and small grey frames (N, P) per camera. The stamps are those on the
            topic; a camera that this package reads itself has its configured delay subtracted.
    """

    commanded: Signal
    measured: Signal
    cameras: Mapping[str, tuple[FloatArray, FloatArray]]


class MotionRecorder:
    """Subscribes on behalf of a node; keeps everything since the last `clear`."""

    def __init__(self, node: Node, robot: Robot, cameras: Sequence[str]) -> None:
        self._node = node
        self._names = robot.joint_names
        self.commanded, self.measured = Track(), Track()
        self.frames = {name: Track() for name in cameras}
        self._topics = {name: camera_topic(name, robot.cameras[name]) for name in cameras}
        node.create_subscription(
            JointState, "supervisor/command", partial(self._on_joints, self.commanded), qos.TICKS
        )
        node.create_subscription(
            JointState,
            "joint_states",
            partial(self._on_joints, self.measured),
            qos.RECORDED_SENSOR,
        )
        for name, topic in self._topics.items():
            kind = CompressedImage if topic.compressed else Image
            on_frame = partial(self._on_frame, self.frames[name])
            node.create_subscription(kind, topic.topic, on_frame, qos.RECORDED_SENSOR)

    def missing(self) -> list[str]:
        """Which streams have brought nothing yet; the commands only come once armed."""
        found = [] if self.measured.values else ["joint_states"]
        return found + [
            f"frames of camera {name} on {self._topics[name].topic}"
            for name, track in self.frames.items()
            if not track.values
        ]

    def clear(self) -> None:
        """Begin anew."""
        for track in (self.commanded, self.measured, *self.frames.values()):
            track.clear()

    def recording(self, joint: int) -> Recording | None:
        """What came since, for one joint by its index; None if a stream fell silent."""
        tracks = [self.commanded, self.measured, *self.frames.values()]
        if any(len(track.values) < 2 for track in tracks):
            return None
        zero_ns = min(track.stamps_ns[0] for track in tracks)

        def times_s(track: Track) -> FloatArray:
            return (np.array(track.stamps_ns, dtype=np.int64) - zero_ns) / NS_PER_S

        def signal(track: Track) -> Signal:
            return Signal(times_s(track), np.stack(track.values)[:, joint])

        return Recording(
            signal(self.commanded),
            signal(self.measured),
            {name: (times_s(t), np.stack(t.values)) for name, t in self.frames.items()},
        )

    def _on_joints(self, track: Track, message: JointState) -> None:
        try:
            position = by_name(self._names, list(message.name), message.position)
        except MessageError as error:
            self._warn(f"joints: {error}")
            return
        track.add(stamp_from_msg(message.header.stamp), position)

    def _on_frame(self, track: Track, message: Image | CompressedImage) -> None:
        try:
            compressed = isinstance(message, CompressedImage)
            pixels = compressed_image_from_msg(message) if compressed else image_from_msg(message)
            track.add(capture_time(message, 0.0), thumbnail(pixels))
        except MessageError as error:
            self._warn(f"frame dropped: {error}")

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)


def thumbnail(pixels: Pixels) -> FloatArray:
    """Grey values of a picture (H, W, 3) made small, flat.

    Where an edge moves by less than one large pixel, its brightness changes in proportion.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    share = min(_LARGEST_SIDE / max(grey.shape), 1.0)
    size = (max(round(grey.shape[1] * share), 1), max(round(grey.shape[0] * share), 1))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float64).ravel()

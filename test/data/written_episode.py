# SPDX-License-Identifier: Apache-2.0
"""Episodes written by `Recording` from messages that rosbags serializes, without ROS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from levine_policy_node.core.episode import Provenance
from levine_policy_node.core.units import StampNs
from levine_policy_node.runtime.mcap_writer import RecordedMessage, RecordedTopic, WriterOptions
from levine_policy_node.runtime.recording import Recording, RecordingOptions

STORE = get_typestore(Stores.ROS2_KILTED)
START_NS = 1_790_000_000_000_000_000
JOINT_STATE = "sensor_msgs/msg/JointState"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
STRING = "std_msgs/msg/String"
_BULKY = (IMAGE, COMPRESSED)


def make(kind: str, *values: Any) -> Any:
    return STORE.types[kind](*values)


def header(stamp_ns: int, frame_id: str = "") -> Any:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = make("builtin_interfaces/msg/Time", sec, nanosec)
    return make("std_msgs/msg/Header", stamp, frame_id)


def joint_state(stamp_ns: int, names, position, velocity=(), frame_id: str = "") -> Any:
    arrays = (np.array(v, dtype=np.float64) for v in (position, velocity, ()))
    return make(JOINT_STATE, header(stamp_ns, frame_id), list(names), *arrays)


def image(stamp_ns: int, pixels: np.ndarray, encoding: str = "rgb8") -> Any:
    height, width = pixels.shape[:2]
    flat = np.ascontiguousarray(pixels).reshape(-1)
    return make(IMAGE, header(stamp_ns), height, width, encoding, 0, 3 * width, flat)


def compressed(stamp_ns: int, encoded: np.ndarray) -> Any:
    return make(COMPRESSED, header(stamp_ns), "rgb8; jpeg compressed bgr8", encoded)


def trajectory(stamp_ns: int, names, times_s, positions, frame_id: str = "", efforts=None) -> Any:
    nothing = np.zeros(0)
    points = [
        make(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            nothing if efforts is not None else np.array(positions[k], dtype=np.float64),
            nothing,
            nothing,
            nothing if efforts is None else np.array(efforts[k], dtype=np.float64),
            make("builtin_interfaces/msg/Duration", *divmod(round(t * 1e9), 1_000_000_000)),
        )
        for k, t in enumerate(times_s)
    ]
    return make(TRAJECTORY, header(stamp_ns, frame_id), list(names), points)


def string(text: str) -> Any:
    return make(STRING, text)


class WrittenEpisode:
    """Collects one episode.

    Args:
        root: Directory of the session.
        jpeg_quality: As of the recorder; None keeps raw images.
        namespace: What topics are recorded in.
    """

    def __init__(
        self, root: Path, jpeg_quality: int | None = None, namespace: str = "", **provenance: Any
    ) -> None:
        options = WriterOptions(jpeg_quality=jpeg_quality)
        self._recording = Recording(root, RecordingOptions(options, 0.0, 0.0))
        self._namespace = namespace
        made = {"session": "s", "robot": "sim_so101", "robot_sha256": "0" * 64, **provenance}
        self.open_file = self._recording.start(Provenance(**made), StampNs(START_NS))

    def put(self, name: str, message: Any, log_ns: int, publish_ns: int | None = None) -> None:
        kind = message.__msgtype__
        data = bytes(STORE.serialize_cdr(message, kind))
        topic = RecordedTopic(f"{self._namespace}/{name}", kind, bulky=kind in _BULKY)
        stamp = getattr(message, "header", None)
        if publish_ns is None:
            publish_ns = (
                log_ns if stamp is None else stamp.stamp.sec * 1_000_000_000 + stamp.stamp.nanosec
            )
        self._recording.put(RecordedMessage(topic, log_ns, publish_ns, data))

    def end(self, end_ns: int = START_NS + 1_000_000_000) -> Path:
        return self._recording.end(StampNs(end_ns))

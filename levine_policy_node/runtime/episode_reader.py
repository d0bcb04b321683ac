# SPDX-License-Identifier: Apache-2.0
"""Read an episode that `intervention_recorder` closed, as typed streams; needs no ROS.

Times are nanoseconds on the ROS clock. Every stream is empty where its topic was not recorded.
Topics are recorded with resolved names (`/left/joint_states`) and are asked for by the names that
nodes use (`joint_states`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from levine_policy_node.camera_image import device_topic
from levine_policy_node.core.cdr import CdrError
from levine_policy_node.core.inference_record import InferenceRecord, read_inference
from levine_policy_node.core.message_bytes import (
    Status,
    TrajectoryRows,
    read_diagnostics,
    read_string,
    read_trajectory_rows,
)
from levine_policy_node.core.units import NS_PER_S, StampNs
from levine_policy_node.errors import RecordingError
from levine_policy_node.robot import CameraStream
from levine_policy_node.runtime.episode_document import read_document
from levine_policy_node.runtime.recorded_file import Chunks, RawMessage, RecordedFile, read_file
from levine_policy_node.runtime.recorded_streams import (
    ImageStream,
    JointStream,
    Received,
)

INFERENCE_TOPIC = "policy/inference"

_COMPRESSED = "/compressed"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode. Streams are decoded when they are first asked for, images one at a time.

    Attributes:
        path: The `.mcap`.
        metadata: What the file itself says of the episode: the records `levine` and, over it,
            `levine.end`. Values are JSON where they were written as such, else text.
        document: `episode.json` beside it, {} without one.
        start_ns: When its first message was received.
        end_ns: When its last one was.
        images: Streams of images by the name they were recorded with.
    """

    path: Path
    metadata: Mapping[str, Any]
    document: Mapping[str, Any]
    start_ns: StampNs
    end_ns: StampNs
    images: Mapping[str, ImageStream]
    _file: RecordedFile

    @property
    def duration_s(self) -> float:
        """From its first to its last message [s]."""
        return (self.end_ns - self.start_ns) / NS_PER_S

    @property
    def topics(self) -> Mapping[str, str]:
        """Message type by topic, as recorded."""
        return self._file.types

    def recorded_topic(self, name: str) -> str:
        """The recorded topic that nodes call `name`, "" if there is none.

        Without a list in the metadata it is the shortest that is `name` in some namespace.
        """
        known: Any = self.metadata.get("topics")
        if isinstance(known, dict) and name in known:
            resolved = str(cast("dict[str, Any]", known)[name])
            return resolved if resolved in self.topics else ""
        fitting = [t for t in self.topics if f"/{t}".endswith(f"/{name}")]
        return min(fitting, key=len, default="")

    def messages(self, name: str) -> tuple[RawMessage, ...]:
        """Serialized messages of any topic but images, in the order they were received."""
        return tuple(self._file.messages.get(self.recorded_topic(name), ()))

    def joints(self, name: str) -> JointStream:
        """A topic of sensor_msgs/JointState."""
        return JointStream(self.recorded_topic(name), self.messages(name))

    @property
    def joint_states(self) -> JointStream:
        """What the robot measured."""
        return self.joints("joint_states")

    @property
    def commands(self) -> JointStream:
        """What was sent to the arm; the source tag says on whose behalf."""
        return self.joints("supervisor/command")

    @property
    def proposals(self) -> JointStream:
        """What the policy or the person wanted, before the supervisor's limits."""
        return self.joints("supervisor/proposal")

    @property
    def operator_targets(self) -> JointStream:
        """Where the person wanted the arm."""
        return self.joints("operator/target")

    @cached_property
    def chunks(self) -> tuple[Received[TrajectoryRows], ...]:
        """Merged timelines."""
        return self._read("policy/action_chunk", read_trajectory_rows, _header_stamp)

    @cached_property
    def raw_chunks(self) -> tuple[Received[TrajectoryRows], ...]:
        """What the policy returned; stamped with the time of its observation."""
        return self._read("policy/raw_chunk", read_trajectory_rows, _header_stamp)

    @cached_property
    def modes(self) -> tuple[Received[str], ...]:
        """Modes of the supervisor."""
        return self._read("supervisor/mode", read_string)

    @cached_property
    def tasks(self) -> tuple[Received[str], ...]:
        """What was to be done, in words."""
        return self._read("task", read_string)

    @cached_property
    def events(self) -> tuple[Received[Status], ...]:
        """Events of the supervisor, several of which may have come in one message."""
        return tuple(
            Received(said.log_ns, said.value[0].stamp_ns, status)
            for said in self._read("supervisor/events", read_diagnostics)
            for status in said.value[1]
        )

    @cached_property
    def inferences(self) -> tuple[Received[InferenceRecord], ...]:
        """What each inference saw, stamped with the time of its observation."""
        return self._read(
            INFERENCE_TOPIC,
            lambda data: read_inference(read_string(data)),
            lambda record: record.seen.stamp_ns,
        )

    def camera(self, name: str, stream: CameraStream) -> tuple[ImageStream, bool] | None:
        """The images of a camera of the robot file; None if none were recorded.

        Returns:
            The stream, and whether its pixels are those that the policy saw: they are unless the
            recorder made JPEG of raw images.
        """
        topic = device_topic(name) if stream.topic is None else stream.topic
        recorded = self.recorded_topic(topic)
        if recorded in self.images:
            return self.images[recorded], True
        recorded = self.recorded_topic(topic + _COMPRESSED) or recorded + _COMPRESSED
        return (self.images[recorded], False) if recorded in self.images else None

    def _read(
        self,
        name: str,
        read: Callable[[bytes], T],
        stamp: Callable[[T], StampNs] | None = None,
    ) -> tuple[Received[T], ...]:
        found: list[Received[T]] = []
        for message in self.messages(name):
            try:
                value = read(message.data)
            except (CdrError, ValueError) as error:
                raise RecordingError(
                    f"{self.path}: {name}: a message cannot be read ({error})"
                ) from error
            stamp_ns = StampNs(message.publish_ns) if stamp is None else stamp(value)
            found.append(Received(StampNs(message.log_ns), stamp_ns, value))
        return tuple(found)


def read_episode(path: Path) -> Episode:
    """Read a closed episode.

    Raises:
        RecordingError: If there is no such file, it is no episode, or it was not closed.
    """
    if path.is_dir():
        raise RecordingError(f"{path}: is a directory. Give the episode's .mcap in it")
    found = read_file(path)
    metadata = {
        key: _value(text)
        for name in ("levine", "levine.end")
        for key, text in found.metadata.get(name, {}).items()
    }
    if "session" not in metadata:
        raise RecordingError(
            f"{path}: not an episode of intervention_recorder. levine record show says what it is"
        )
    chunks = Chunks(path)
    images = {
        topic: ImageStream(topic, kind.endswith("CompressedImage"), tuple(places), chunks)
        for topic, kind in found.types.items()
        if (places := found.places.get(topic))
    }
    start_ns, end_ns = found.span_ns or (0, 0)
    return Episode(
        path,
        metadata,
        read_document(path.with_name("episode.json")),
        StampNs(start_ns),
        StampNs(end_ns),
        images,
        found,
    )


def _value(text: str) -> Any:
    """A metadata value: JSON where it was written as such, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _header_stamp(rows: TrajectoryRows) -> StampNs:
    return rows.header.stamp_ns

# SPDX-License-Identifier: Apache-2.0
"""Streams of an episode, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from levine_policy_node.camera_image import compressed_pixels, raw_pixels
from levine_policy_node.core.cdr import CdrError, CdrReader, read_image
from levine_policy_node.core.message_bytes import JointValues, read_joint_state
from levine_policy_node.core.message_values import MessageError, joint_sample
from levine_policy_node.core.observation import JointSample, Pixels
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.recorded_file import Chunks, MessagePlace, RawMessage

T = TypeVar("T")
Stamps = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """One value.

    Attributes:
        log_ns: When the recorder received it, on the ROS clock. What a topic had said before the
            episode began counts as received when it began.
        stamp_ns: When it says it was made (`header.stamp`), on the ROS clock; without a header
            when it was received, also before the episode.
        value: What it says.
    """

    log_ns: StampNs
    stamp_ns: StampNs
    value: T


@dataclass(frozen=True, slots=True, eq=False)
class JointTrack:
    """Joint states as arrays, one row per message.

    Attributes:
        log_ns: When each was received, shape (N,).
        stamp_ns: When each was made, shape (N,).
        position: Shape (N, J) [rad], NaN where a message does not say it.
        velocity: Likewise [rad/s].
        effort: Likewise [N m].
        sources: `header.frame_id` of each: the source tag of a command or proposal.
    """

    log_ns: Stamps
    stamp_ns: Stamps
    position: FloatArray
    velocity: FloatArray
    effort: FloatArray
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True, slots=True, eq=False)
class JointStream:
    """A recorded topic of sensor_msgs/JointState.

    Attributes:
        topic: Name it was recorded with; "" if it was not.
        messages: Serialized, in the order they were received.
    """

    topic: str = ""
    messages: tuple[RawMessage, ...] = ()

    def __len__(self) -> int:
        return len(self.messages)

    def values(self) -> Iterator[Received[JointValues]]:
        """What each message says.

        Raises:
            RecordingError: If a message is no JointState.
        """
        for message in self.messages:
            try:
                found = read_joint_state(message.data)
            except CdrError as error:
                raise RecordingError(f"{self.topic}: a message is damaged ({error})") from error
            yield Received(StampNs(message.log_ns), found.header.stamp_ns, found)

    def samples(self, joint_names: Sequence[str]) -> tuple[Received[JointSample], ...]:
        """What `policy_executor` takes of them: messages without some joint or stamp are left out.

        Args:
            joint_names: J names, the order of the robot file.
        """
        found: list[Received[JointSample]] = []
        for said in self.values():
            values = said.value
            try:
                sample = joint_sample(
                    said.stamp_ns,
                    values.names,
                    values.position.tolist(),
                    values.velocity.tolist(),
                    joint_names,
                )
            except MessageError:
                continue
            found.append(Received(said.log_ns, said.stamp_ns, sample))
        return tuple(found)

    def track(self, joint_names: Sequence[str]) -> JointTrack:
        """All messages as arrays, also those that name only some of the joints.

        Args:
            joint_names: J names, the order of the columns.
        """
        said = list(self.values())
        rows = np.full((3, len(said), len(joint_names)), np.nan)
        columns: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}
        for i, received in enumerate(said):
            values = received.value
            if values.names not in columns:
                there = [
                    (c, values.names.index(n))
                    for c, n in enumerate(joint_names)
                    if n in values.names
                ]
                columns[values.names] = [c for c, _ in there], [k for _, k in there]
            to, of = columns[values.names]
            for field, numbers in enumerate((values.position, values.velocity, values.effort)):
                if len(numbers) == len(values.names):
                    rows[field, i, to] = numbers[of]
        return JointTrack(
            np.array([r.log_ns for r in said], dtype=np.int64),
            np.array([r.stamp_ns for r in said], dtype=np.int64),
            rows[0],
            rows[1],
            rows[2],
            tuple(r.value.header.frame_id for r in said),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ImageStream:
    """A recorded topic of images, which are read and decoded one at a time.

    Attributes:
        topic: Name it was recorded with.
        compressed: Whether the file holds CompressedImage. The recorder makes JPEG of raw images
            unless it is told not to (`image_format: raw`), and adds `/compressed` to the topic.
        places: Where each image lies.
        chunks: What fetches them.
    """

    topic: str
    compressed: bool
    places: tuple[MessagePlace, ...]
    chunks: Chunks

    def __len__(self) -> int:
        return len(self.places)

    @property
    def log_ns(self) -> Stamps:
        """When each was received, shape (N,), on the ROS clock."""
        return np.array([place.log_ns for place in self.places], dtype=np.int64)

    @property
    def stamp_ns(self) -> Stamps:
        """`header.stamp` of each, shape (N,), on the ROS clock."""
        return np.array([place.publish_ns for place in self.places], dtype=np.int64)

    def message(self, index: int) -> bytes:
        """One serialized message.

        Raises:
            RecordingError: If the file has changed.
        """
        return self.chunks.data(self.places[index])

    def encoded(self, index: int) -> bytes:
        """The JPEG or PNG of one image, of a compressed stream.

        Raises:
            RecordingError: If it cannot be read.
        """
        return bytes(self._fields(index)[1])

    def pixels(self, index: int) -> Pixels:
        """One image, RGB of shape (H, W, 3), decoded as `policy_executor` decodes its cameras.

        Raises:
            RecordingError: If it cannot be decoded.
        """
        try:
            if self.compressed:
                image_format, data = self._fields(index)
                return compressed_pixels(data, image_format)
            image = read_image(self.message(index))
            return raw_pixels(image.encoding, image.height, image.width, image.step, image.data)
        except (CdrError, MessageError) as error:
            raise RecordingError(f"{self.topic}: image {index}: {error}") from error

    def _fields(self, index: int) -> tuple[str, memoryview]:
        reader = CdrReader(self.message(index))
        reader.header()
        return reader.string(), reader.octets()

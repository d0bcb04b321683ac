# SPDX-License-Identifier: Apache-2.0
"""Camera topics into a frame store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from levine_policy_node.camera_image import compressed_pixels, device_topic
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.robot import CameraStream
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.edge_log import EdgeLog
from levine_policy_node.ros.messages import MessageError, image_from_msg


@dataclass(frozen=True, slots=True)
class CameraTopic:
    """Where the frames of one camera come from.

    Attributes:
        topic: Relative topic name.
        compressed: Whether it carries CompressedImage.
        capture_delay_s: How much later than the capture the stamp is [s].
        frame_id: What its frames say they are of; None for anything.
    """

    topic: str
    compressed: bool
    capture_delay_s: float
    frame_id: str | None = None

    def captured_ns(self, message: Image | CompressedImage) -> StampNs:
        """When the light was captured, on the ROS clock [ns].

        Raises:
            MessageError: If the message has no stamp, or is another camera's.
        """
        found = message.header.frame_id
        if self.frame_id is not None and found != self.frame_id:
            raise MessageError(
                f"a frame of '{found}', not of '{self.frame_id}'; were two cameras exchanged?"
            )
        return capture_time(message, self.capture_delay_s)


def camera_topic(name: str, stream: CameraStream) -> CameraTopic:
    """The topic of a camera: its driver's, or for a device that of `camera_ingest`.

    Frames of a device are published with their capture time, so no delay is left to subtract.
    """
    if stream.topic is None:
        return CameraTopic(device_topic(name), compressed=False, capture_delay_s=0.0)
    return CameraTopic(stream.topic, stream.compressed, stream.capture_delay_s, stream.frame_id)


class CameraTopics:
    """Subscribes to cameras on behalf of a node and puts their frames into a store."""

    def __init__(self, node: Node, topics: Mapping[str, CameraTopic], store: FrameStore) -> None:
        self._node = node
        self._store = store
        self._logs = {name: EdgeLog(node, f"camera {name}: frames are good") for name in topics}
        self._subscriptions: list[Subscription[Image] | Subscription[CompressedImage]] = []
        for name, topic in topics.items():
            self._subscriptions.append(self._subscribe(name, topic))

    def _subscribe(
        self, name: str, topic: CameraTopic
    ) -> Subscription[Image] | Subscription[CompressedImage]:
        if topic.compressed:
            compressed = partial(self._on_compressed, name, topic)
            return self._node.create_subscription(
                CompressedImage, topic.topic, compressed, qos.IMAGE_IN
            )
        raw = partial(self._on_image, name, topic)
        return self._node.create_subscription(Image, topic.topic, raw, qos.IMAGE_IN)

    def close(self) -> None:
        """Unsubscribe; safe to call twice."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _on_image(self, name: str, topic: CameraTopic, message: Image) -> None:
        try:
            stamp_ns = topic.captured_ns(message)
            self._put(name, stamp_ns, image_from_msg(message))
        except MessageError as error:
            self._refuse(name, error)

    def _on_compressed(self, name: str, topic: CameraTopic, message: CompressedImage) -> None:
        try:
            stamp_ns = topic.captured_ns(message)
            self._put(name, stamp_ns, compressed_image_from_msg(message))
        except MessageError as error:
            self._refuse(name, error)

    def _refuse(self, name: str, error: MessageError) -> None:
        self._logs[name].problem("message", f"camera {name}: frame dropped: {error}")
        self._store.refuse(name, str(error))

    def _put(self, name: str, stamp_ns: StampNs, pixels: Pixels) -> None:
        self._logs[name].fine()
        self._store.put(name, stamp_ns, pixels)


def capture_time(message: Image | CompressedImage, delay_s: float) -> StampNs:
    """When the light was captured, on the ROS clock [ns].

    Raises:
        MessageError: If the message has no stamp.
    """
    stamp_ns = stamp_from_msg(message.header.stamp)
    if stamp_ns == 0:
        raise MessageError("no stamp; the driver must stamp frames with their capture time")
    return StampNs(stamp_ns - nanoseconds(delay_s))


def compressed_image_from_msg(message: CompressedImage) -> Pixels:
    """Decode a JPEG or PNG into RGB pixels (H, W, 3).

    Raises:
        MessageError: If it cannot be decoded.
    """
    return compressed_pixels(memoryview(message.data), message.format)

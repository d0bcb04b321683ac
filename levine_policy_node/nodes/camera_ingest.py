# SPDX-License-Identifier: Apache-2.0
"""Bring camera frames into the policy's process, stamped with their capture time.

In `policy_runtime` it fills the frame store that the executor reads: a frame costs one message
from its driver and no further copy. As a process of its own it publishes the cameras that it reads
from devices on `camera/<name>/image`, where a `policy_executor` of its own process, the recorder
or a console find them; cameras whose driver publishes a topic need no such help and are watched
for their rate and age only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.publisher import Publisher
from rclpy.timer import Timer
from sensor_msgs.msg import Image

from levine_policy_node.camera_image import device_topic
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.units import StampNs, SteadyNs, seconds
from levine_policy_node.errors import UnknownNameError
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.camera_topics import CameraTopics, camera_topic
from levine_policy_node.ros.clocks import ros_now, steady_now
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.managed_node import ManagedNode
from levine_policy_node.ros.messages import image_to_msg
from levine_policy_node.ros.parameters import load_parameters, parameter
from levine_policy_node.runtime.camera_device import CameraDevice


@dataclass(frozen=True, slots=True)
class CameraIngestParameters:
    """Parameters of `camera_ingest`."""

    robot: str = parameter("Robot file: name of one that ships, or path")
    cameras: tuple[str, ...] = parameter(
        "Cameras to read; empty for all of the robot file", default=()
    )
    autostart: bool = parameter("Configure and activate without a manager", default=True)


class CameraIngest(ManagedNode):
    """Fills a frame store from topics and devices.

    Args:
        store: Where frames go; the executor of the same process reads it.
        cameras: Cameras that are needed; None for those of the parameter `cameras`.
    """

    def __init__(self, store: FrameStore, cameras: Sequence[str] | None = None) -> None:
        super().__init__("camera_ingest")
        self.parameters = load_parameters(self, CameraIngestParameters)
        self._store = store
        self._needed = cameras
        self._cameras: tuple[str, ...] = ()
        self._topics: CameraTopics | None = None
        self._devices: list[CameraDevice] = []
        self._image_publishers: dict[str, Publisher[Image]] = {}
        self._diagnostics: Publisher[DiagnosticArray] | None = None
        self._timer: Timer | None = None
        self._counts: dict[str, int] = {}
        self._counted_ns: SteadyNs = steady_now()

    def setup(self) -> None:
        """Read the robot file and prepare diagnostics."""
        robot = load_robot(self.parameters.robot)
        self._cameras = self._chosen(robot)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def start(self) -> None:
        """Open devices and subscribe to topics."""
        robot = load_robot(self.parameters.robot)
        streams = {name: robot.cameras[name] for name in self._cameras}
        for name, stream in streams.items():
            if stream.device is not None:
                self._image_publishers[name] = self.create_publisher(
                    Image, device_topic(name), qos.IMAGE_OUT
                )
                self._devices.append(
                    CameraDevice(
                        name, stream, partial(ros_now, self), partial(self._on_frame, name)
                    )
                )
        topics = {
            name: camera_topic(name, stream)
            for name, stream in streams.items()
            if stream.topic is not None
        }
        self._topics = CameraTopics(self, topics, self._store)
        self._counted_ns = steady_now()
        self._timer = self.create_timer(1.0, self._on_timer)

    def stop(self) -> None:
        """Close devices and unsubscribe."""
        while self._devices:
            self._devices.pop().close()
        if self._topics is not None:
            self._topics.close()
            self._topics = None
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        while self._image_publishers:
            self.destroy_publisher(self._image_publishers.popitem()[1])

    def teardown(self) -> None:
        """Release the diagnostics publisher."""
        if self._diagnostics is not None:
            self.destroy_publisher(self._diagnostics)
            self._diagnostics = None

    def _chosen(self, robot: Robot) -> tuple[str, ...]:
        chosen = tuple(self.parameters.cameras if self._needed is None else self._needed)
        for name in chosen:
            if name not in robot.cameras:
                raise UnknownNameError(str(robot.path), "cameras", name, robot.cameras)
        if self._needed is None and not chosen:
            return tuple(robot.cameras)
        return chosen

    def _on_frame(self, name: str, stamp_ns: StampNs, pixels: Pixels) -> None:
        """Take a frame from a device, in the device's thread."""
        self._store.put(name, stamp_ns, pixels)
        publisher = self._image_publishers.get(name)
        if publisher is not None and publisher.get_subscription_count() > 0:
            publisher.publish(image_to_msg(pixels, stamp_ns, name))

    def _on_timer(self) -> None:
        now_ns, steady_ns = ros_now(self), steady_now()
        elapsed_s = seconds(steady_ns - self._counted_ns)
        values: dict[str, float] = {}
        silent: list[str] = []
        for name in self._cameras:
            count = self._store.count(name)
            new = count - self._counts.get(name, 0)
            newest = self._store.history(name).newest
            values[f"{name}_rate_hz"] = new / elapsed_s
            age_s = float("nan") if newest is None else seconds(now_ns - newest.stamp_ns)
            values[f"{name}_age_ms"] = age_s * 1e3
            self._counts[name] = count
            if new == 0:
                silent.append(name)
        self._counted_ns = steady_ns
        if self._diagnostics is not None:
            flaws = [str(flaw) for name in self._cameras if (flaw := self._store.flaw(name))]
            problem = f"no frames from {', '.join(silent)}" if silent else "; ".join(flaws)
            self._diagnostics.publish(diagnostics_to_msg(self, values, problem))


def main(argv: list[str] | None = None) -> int:
    """Run `camera_ingest` as its own process."""

    def factory() -> Sequence[CameraIngest]:
        node = CameraIngest(FrameStore())
        if node.parameters.autostart:
            node.autostart()
        return (node,)

    return run(factory, argv)


if __name__ == "__main__":
    raise SystemExit(main())

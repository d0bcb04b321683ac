# SPDX-License-Identifier: Apache-2.0
"""A robot that only senses: joint states at 100 Hz and camera images at 30 fps."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from bundle_factory import CAMERAS, JOINTS
from harness import Graph
from sensor_msgs.msg import Image, JointState

from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.messages import image_to_msg, joint_state_to_msg


class World:
    """Publishes while `run` spins; what it does is changed through its attributes.

    Attributes:
        cameras: Cameras that give frames.
        joints: Joints that are in the joint states.
        brightness: Value of every pixel; each frame has a little noise on top.
        frame_stamps: Stamp of every frame published [ns].
    """

    def __init__(self, graph: Graph, size: int = 96) -> None:
        self.graph = graph
        self.cameras: tuple[str, ...] = CAMERAS
        self.joints: tuple[str, ...] = JOINTS
        self.brightness = 128
        self.frame_stamps: set[int] = set()
        self._size = size
        self._rng = np.random.default_rng(0)
        self._begin_ns = time.monotonic_ns()
        self._offset_ns = ros_now(graph.node) - self._begin_ns
        node = graph.node
        self._states = node.create_publisher(JointState, "joint_states", qos.JOINT_STATE_OUT)
        self._images = {
            name: node.create_publisher(Image, f"camera/{name}/image", qos.IMAGE_OUT)
            for name in CAMERAS
        }
        node.create_timer(0.01, self._publish_state)
        for name in CAMERAS:
            node.create_timer(1 / 30, partial(self._publish_image, name))

    def position_at(self, stamp_ns: int) -> FloatArray:
        """Where the joints are: they move slowly and straight."""
        elapsed_s = (stamp_ns - self._begin_ns - self._offset_ns) / 1e9
        return np.linspace(-0.2, 0.2, len(JOINTS)) * (1.0 + 0.1 * elapsed_s)

    def run(self, predicate: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Sense until `predicate` holds."""
        self.graph.spin_until(predicate, timeout_s)

    def run_for(self, duration_s: float) -> None:
        """Sense for a while."""
        self.graph.spin_for(duration_s)

    def _publish_state(self) -> None:
        stamp_ns = ros_now(self.graph.node)
        position = self.position_at(stamp_ns)
        indices = [JOINTS.index(name) for name in self.joints]
        point = JointPoint.at_rest(position[indices])
        self._states.publish(joint_state_to_msg(self.joints, point, StampNs(stamp_ns)))

    def _publish_image(self, name: str) -> None:
        if name not in self.cameras:
            return
        stamp_ns = ros_now(self.graph.node)
        self.frame_stamps.add(int(stamp_ns))
        shape = (self._size, self._size, 3)
        noise = self._rng.integers(0, 2, shape) if self.brightness else 0
        pixels = np.full(shape, self.brightness, dtype=np.uint8) + np.asarray(noise, np.uint8)
        self._images[name].publish(image_to_msg(pixels, stamp_ns, name))

# SPDX-License-Identifier: Apache-2.0
"""Tells on `policy/inference` what each inference saw, from a thread of its own.

The inference thread only puts a reference into a queue, so that neither the chunk nor the next
inference waits for digests or text. Nothing is done while nobody listens.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import Any

from std_msgs.msg import String

from levine_policy_node.core.inference_record import (
    InferenceRecord,
    inference_text,
    pixel_digest,
    seen_moment,
)
from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.units import StampNs
from levine_policy_node.robot import Robot
from levine_policy_node.ros.camera_topics import camera_topic
from levine_policy_node.runtime.inference_worker import InferenceResult

# Each holds its images. What does not fit is not told, and its number is missing.
_WAITING = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    result: InferenceResult
    number: int
    ended_ns: StampNs
    used: bool


class InferenceLog:
    """Publishes one `InferenceRecord` per inference.

    Args:
        robot: The robot file.
        publisher: Of std_msgs/String; must outlive this.
    """

    def __init__(self, robot: Robot, publisher: Any) -> None:
        self._publisher = publisher
        self._joint_names = robot.joint_names
        topics = {name: camera_topic(name, stream) for name, stream in robot.cameras.items()}
        self._delays_s = {
            name: topic.capture_delay_s for name, topic in topics.items() if topic.capture_delay_s
        }
        self._epoch = self._number = -1
        self._digests: dict[tuple[str, StampNs], str] = {}
        self._waiting: queue.Queue[_Told | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="inference_log", daemon=True)
        self._thread.start()

    def add(self, result: InferenceResult, ended_ns: StampNs, *, used: bool) -> None:
        """Note every inference, in their order; called by the inference thread.

        Args:
            result: What came of it.
            ended_ns: When, on the ROS clock.
            used: Whether its chunk was published.
        """
        # The worker resets the policy at each new epoch, likewise.
        self._number = self._number + 1 if result.epoch == self._epoch else 0
        self._epoch = result.epoch
        if self._publisher.get_subscription_count() > 0 and not self._waiting.full():
            self._waiting.put(_Told(result, self._number, ended_ns, used))

    def close(self) -> None:
        """Publish what is waiting and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (told := self._waiting.get()) is not None:
            self._publisher.publish(String(data=inference_text(self._record(told))))
            del told  # It may hold the last reference to a policy.

    def _record(self, told: _Told) -> InferenceRecord:
        result, request = told.result, told.result.request
        observation, before = request.observation, self._digests
        self._digests = {}

        def digest(camera: str, stamp_ns: StampNs, pixels: Pixels) -> str:
            # A goal, and what is in the past of the next inference, is not read twice.
            key = camera, stamp_ns
            self._digests[key] = before.get(key) or pixel_digest(pixels)
            return self._digests[key]

        return InferenceRecord(
            source=f"{result.policy.source}#{request.epoch}",
            epoch=request.epoch,
            number=told.number,
            joint_names=self._joint_names,
            seen=seen_moment(observation, digest),
            past=tuple(seen_moment(moment, digest) for moment in observation.past),
            task=observation.task,
            goal=observation.goal,
            prefix=request.prefix,
            delays_s=self._delays_s,
            ended_ns=told.ended_ns,
            duration_s=result.duration_s,
            error=result.error,
            used=told.used,
        )

# SPDX-License-Identifier: Apache-2.0
"""Play recorded observations to a running `policy_runtime` as ROS messages, and take its chunks.

Stamps lie in the near past, a period apart, so nothing has to be waited for and every message is
used as it is: joint states are exactly those of the frames, whatever order topics arrive in.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.bench.family_recording import Answer, Recording, write_robot
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import StampNs
from levine_policy_node.graph import GraphOptions, ParameterValue, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.robot import Robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.camera_topics import camera_topic
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg
from levine_policy_node.ros.messages import goal_to_msg, image_to_msg, joint_state_to_msg
from levine_policy_node.ros.operator_client import OperatorClient
from levine_policy_node.ros.rollout import RolloutError
from levine_policy_node.runtime.bundle import Bundle

_READY_S = 60.0
_ANSWER_S = 20.0
_AGAIN_S = 1.0
# Two topics have no order between them: what must be known first is given this head start.
_HEAD_START_S = 0.3
_PATIENT: dict[str, ParameterValue] = {
    "camera_max_age_s": 10.0,
    "joint_max_age_s": 10.0,
    "frozen_motion_rad": 10.0,
    "inference_timeout_s": 10.0,
    "replan": "at_once",
    "merge": "replace",
    "smoothing_s": 0.0,
    "trial": False,
}
"""A recording is old, comes at once, and every observation of it is to be answered."""


def through_ros(recording: Recording, bundle: Bundle, robot: Robot) -> tuple[Answer, ...]:
    """What `policy_runtime` publishes on `policy/raw_chunk` for each observation.

    Raises:
        ConfigError: If robot and bundle do not fit.
        RolloutError: If the process ends, or does not answer; the message holds its last words.
    """
    with tempfile.TemporaryDirectory(prefix="levine_family_") as folder:
        options = GraphOptions(
            robot=str(write_robot(robot, Path(folder))),
            policy=str(bundle.path),
            recorder=False,
            log_level="warn",
            overrides={"policy_runtime": {}, "policy_executor": _PATIENT},
        )
        graph = tuple(p for p in build_graph(options) if p.executable == "policy_runtime")
        logs = Path(folder) / "logs"
        with ProcessGroup(graph, options, log_directory=logs) as group:
            player = _Player(recording, bundle, robot)

            def alive() -> None:
                if group.failed() is not None:
                    raise RolloutError(f"it ended: {group.log_tail('policy_runtime')}")

            try:
                player.wait_ready(alive)
                return tuple(player.answers(alive))
            except RolloutError as error:
                tail = group.log_tail("policy_runtime")
                raise RolloutError(f"{recording.family}: {error}\n{tail}") from error
            finally:
                player.close()


class _Player(OperatorClient):
    """Stands in for the robot, its cameras, and whoever gives tasks and goals."""

    def __init__(self, recording: Recording, bundle: Bundle, robot: Robot) -> None:
        super().__init__("family_player")
        self._recording, self._bundle, self._robot = recording, bundle, robot
        self._chunks: dict[int, Answer] = {}
        node = self.node
        self._states = node.create_publisher(JointState, "joint_states", qos.JOINT_STATE_OUT)
        self._images = {
            name: node.create_publisher(
                Image, camera_topic(name, robot.cameras[name]).topic, qos.IMAGE_OUT
            )
            for name in bundle.cameras
            if name in recording.images  # a robot may lack those that are optional
        }
        self._told: dict[str, Any] = {}
        if bundle.document.reads_task:
            self._told["task"] = node.create_publisher(String, "task", qos.TASK)
        if bundle.document.goal_frame is not None:
            self._told["goal"] = node.create_publisher(PointStamped, "goal", qos.TASK)
        node.create_subscription(JointTrajectory, "policy/raw_chunk", self._on_chunk, qos.TICKS)

    def wait_ready(self, alive: Callable[[], None]) -> None:
        """Wait until the runtime reads everything, and is told the task.

        Raises:
            RolloutError: If it does not.
        """
        publishers = [self._states, *self._images.values(), *self._told.values()]

        def ready() -> bool:
            alive()
            heard = self.node.count_publishers("policy/raw_chunk") > 0
            return heard and all(p.get_subscription_count() > 0 for p in publishers)

        if not self.spin_until(ready, _READY_S):
            raise RolloutError(f"it does not read everything after {_READY_S:.0f} s")
        if "task" in self._told:
            self._told["task"].publish(String(data=self._recording.task))
        self.spin_for(_HEAD_START_S)

    def answers(self, alive: Callable[[], None]) -> list[Answer]:
        """Show one observation after the other, and wait for the answer to each.

        Raises:
            RolloutError: If there is none.
        """
        count, rate = len(self._recording), self._bundle.document.rate
        begin_ns = ros_now(self.node) - self._recording.stamp(count - 1, rate)
        stamps = [StampNs(begin_ns + self._recording.stamp(i, rate)) for i in range(count)]
        if self._images:
            for index, stamp_ns in enumerate(stamps):
                self._show_joints(index, stamp_ns)
                self.spin_for(0.01)
            self.spin_for(_HEAD_START_S)
        for index, stamp_ns in enumerate(stamps):
            self._tell_goal(index, stamp_ns)
            self._ask(index, stamp_ns, alive)
        return [self._chunks[int(stamp_ns)] for stamp_ns in stamps]

    def _ask(self, index: int, stamp_ns: StampNs, alive: Callable[[], None]) -> None:
        deadline = time.monotonic() + _ANSWER_S
        while int(stamp_ns) not in self._chunks:
            alive()
            if time.monotonic() > deadline:
                raise RolloutError(f"no answer to observation {index + 1}")
            # A best-effort reader may miss a message; one that repeats a stamp adds nothing.
            if self._images:
                self._show_images(index, stamp_ns)
            else:
                self._show_joints(index, stamp_ns)
            self.spin_until(lambda: int(stamp_ns) in self._chunks, _AGAIN_S)

    def _tell_goal(self, index: int, stamp_ns: StampNs) -> None:
        """A goal that is another one must be known before the observation it belongs to."""
        goal = self._recording.goal(index, self._bundle.document.goal_frame)
        before = self._recording.goals
        if goal is None or before is None:
            return
        if index == 0 or not np.array_equal(before[index - 1], goal.position):
            self._told["goal"].publish(goal_to_msg(goal, stamp_ns))
            self.spin_for(_HEAD_START_S)

    def _show_joints(self, index: int, stamp_ns: StampNs) -> None:
        seen = self._recording
        point = JointPoint(
            seen.positions[index], seen.velocities[index], np.zeros(len(seen.joint_names))
        )
        self._states.publish(joint_state_to_msg(seen.joint_names, point, stamp_ns))

    def _show_images(self, index: int, stamp_ns: StampNs) -> None:
        frames = self._recording.frames(index)
        # A goal is not waited for, so it must be there before the last camera's frame is.
        goals = [name for name in self._images if name in self._bundle.document.context.goals]
        for name in [*goals, *(n for n in self._images if n not in goals)]:
            self._images[name].publish(image_to_msg(frames[name], stamp_ns, name))
            if name in goals:
                self.spin_for(_HEAD_START_S)

    def _on_chunk(self, message: JointTrajectory) -> None:
        rows = [point.positions or point.effort for point in message.points]
        answer = Answer(tuple(message.joint_names), np.array(rows, dtype=np.float64))
        self._chunks[int(stamp_from_msg(message.header.stamp))] = answer

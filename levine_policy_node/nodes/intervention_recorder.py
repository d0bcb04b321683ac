# SPDX-License-Identifier: Apache-2.0
"""Record every episode: raw subscriptions to one append-only MCAP file per episode.

The node subscribes without deserializing, hands the bytes to a writer thread and never publishes
to the robot. If it is slow, fails or dies, the arm does not notice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.cdr import CdrError, read_header, stamp_of
from levine_policy_node.core.episode import Outcome, Provenance, trigger_of
from levine_policy_node.errors import RecordingError
from levine_policy_node.nodes.recorder_setup import RecorderParameters
from levine_policy_node.resources import PACKAGE
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.camera_topics import camera_topic
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.managed_node import ManagedNode
from levine_policy_node.ros.parameters import load_parameters
from levine_policy_node.runtime.episode_files import create_session, new_session_id
from levine_policy_node.runtime.mcap_writer import (
    COMPRESSED_IMAGE,
    IMAGE,
    RecordedMessage,
    RecordedTopic,
)
from levine_policy_node.runtime.recording import Recording

MODE_TOPIC = "supervisor/mode"
TASK_TOPIC = "task"
RAW_CHUNK_TOPIC = "policy/raw_chunk"

TOPICS: tuple[tuple[str, type[Any], QoSProfile], ...] = (
    ("joint_states", JointState, qos.JOINT_STATE_IN),
    ("policy/action_chunk", JointTrajectory, qos.TICKS),
    (RAW_CHUNK_TOPIC, JointTrajectory, qos.TICKS),
    ("policy/inference", String, qos.TICKS),
    ("operator/target", JointState, qos.TICKS),
    ("estop", Bool, qos.ESTOP),
    (MODE_TOPIC, String, qos.RECORDED_LATCHED),
    ("supervisor/proposal", JointState, qos.TICKS),
    ("supervisor/command", JointState, qos.TICKS),
    ("supervisor/events", DiagnosticArray, qos.EVENTS),
    (TASK_TOPIC, String, qos.RECORDED_LATCHED),
    ("robot_description", String, qos.DESCRIPTION),
)
# What the first inference of an episode sees and says; images belong to it, too.
PREROLL = ("joint_states", "policy/inference", RAW_CHUNK_TOPIC, "policy/action_chunk")
_WITHOUT_HEADER = ("std_msgs/msg/Bool", "std_msgs/msg/String")


class InterventionRecorder(ManagedNode):
    """Follows the supervisor's modes and the `recorder/*` services."""

    def __init__(self) -> None:
        super().__init__("intervention_recorder")
        self._settings = load_parameters(self, RecorderParameters)
        self._robot: Robot = load_robot(self._settings.robot)
        self._session = ""
        self._recording: Recording | None = None
        self._mode: str | None = None
        self._task = ""
        self._active = False
        self._problem = ""
        self._entities: list[Callable[[], object]] = []

    def setup(self) -> None:
        """Create the session's directory, subscriptions and services."""
        self._session = new_session_id()
        document = {
            "format": "levine_session",
            "version": 1,
            "session": self._session,
            "start_ns": ros_now(self),
            "robot": {"name": self._robot.name, "sha256": self._robot.sha256},
            "software": _software(),
        }
        directory = create_session(Path(self._settings.root), self._session, document)
        self._recording = Recording(directory, self._settings.recording_options())
        for name, kind, profile in TOPICS:
            self._subscribe(name, kind, profile)
        for name, stream in self._robot.cameras.items():
            camera = camera_topic(name, stream)
            kind = CompressedImage if camera.compressed else Image
            self._subscribe(camera.topic, kind, qos.RECORDED_SENSOR)
        self._serve("start_episode", self._start_episode)
        self._serve("end_episode", self._end_episode)
        self._serve("mark_success", partial(self._mark, "success"))
        self._serve("mark_failure", partial(self._mark, "failure"))
        self._serve("discard", self._discard)
        publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        timer = self.create_timer(1.0, partial(self._each_second, publisher))
        self._entities += [
            partial(self.destroy_timer, timer),
            partial(self.destroy_publisher, publisher),
        ]
        self.get_logger().info(f"recording to {directory}")

    def start(self) -> None:
        """Begin to record."""
        self._active = True

    def stop(self) -> None:
        """Close an open episode; nobody judged it, so it counts as aborted."""
        self._active = False
        if self._recording is not None and self._recording.is_open:
            self._end_because("the recorder stopped")

    def teardown(self) -> None:
        """Leave the graph; the session ends."""
        while self._entities:
            self._entities.pop()()
        self._recording = None
        self._mode = None

    def _subscribe(self, name: str, kind: type[Any], profile: QoSProfile) -> None:
        is_image = _type_name(kind) in (IMAGE, COMPRESSED_IMAGE)
        topic = RecordedTopic(
            name=self.resolve_topic_name(name),
            type_name=_type_name(kind),
            latched=profile.durability is DurabilityPolicy.TRANSIENT_LOCAL,
            bulky=is_image,
            preroll=is_image or name in PREROLL,
        )
        callback = {
            MODE_TOPIC: self._on_mode,
            TASK_TOPIC: self._on_task,
            RAW_CHUNK_TOPIC: self._on_raw_chunk,
        }.get(name, self._record)
        subscription = self.create_subscription(
            kind, name, partial(callback, topic), profile, raw=True
        )
        self._entities.append(partial(self.destroy_subscription, subscription))

    def _serve(self, name: str, action: Callable[[Recording], str]) -> None:
        service = self.create_service(Trigger, f"recorder/{name}", partial(self._answer, action))
        self._entities.append(partial(self.destroy_service, service))

    def _answer(
        self,
        action: Callable[[Recording], str],
        request: Trigger.Request,
        response: Trigger.Response,
    ) -> Trigger.Response:
        del request
        try:
            if self._recording is None or not self._active:
                raise RecordingError("intervention_recorder is not active. Activate it first")
            response.message = action(self._recording)
            response.success = True
        except RecordingError as error:
            response.message = str(error)
            self.get_logger().warning(str(error))
        return response

    def _record(self, topic: RecordedTopic, data: bytes) -> None:
        if self._recording is None:
            return
        now_ns = ros_now(self)
        made_ns = stamp_of(data) if topic.type_name not in _WITHOUT_HEADER else None
        self._recording.put(RecordedMessage(topic, now_ns, made_ns or now_ns, data))

    def _on_task(self, topic: RecordedTopic, data: bytes) -> None:
        self._record(topic, data)
        self._task = deserialize_message(data, String).data
        if self._recording is not None:
            self._recording.instructed(self._task)

    def _on_raw_chunk(self, topic: RecordedTopic, data: bytes) -> None:
        self._record(topic, data)
        if self._recording is not None and self._recording.is_open:
            try:
                self._recording.proposed_by(read_header(data).frame_id)
            except CdrError as error:
                self.get_logger().warning(f"{topic.name}: {error}", once=True)

    def _on_mode(self, topic: RecordedTopic, data: bytes) -> None:
        self._record(topic, data)
        if self._recording is None:
            return
        previous, self._mode = self._mode, deserialize_message(data, String).data
        if self._mode == previous:
            return
        trigger = trigger_of(previous, self._mode, is_open=self._recording.is_open)
        if trigger == "start" and self._settings.auto_start and self._active:
            self._report_errors(self._start_episode)
        self._recording.entered(self._mode, ros_now(self))
        if trigger == "end" and self._settings.auto_start:
            self._report_errors(self._end_episode)

    def _report_errors(self, action: Callable[[Recording], str]) -> None:
        try:
            if self._recording is not None:
                action(self._recording)
            self._problem = ""
        except RecordingError as error:
            self._problem = str(error)
            self.get_logger().error(str(error))

    def _start_episode(self, recording: Recording) -> str:
        made = self._settings
        seed = int(self.get_parameter("seed").value)
        provenance = Provenance(
            session=self._session,
            robot=self._robot.name,
            robot_sha256=self._robot.sha256,
            policy=made.policy_name,
            policy_sha256=made.policy_sha256,
            seed=None if seed < 0 else seed,
            task=self._task,
            operator=str(self.get_parameter("operator").value),
            software=_software(),
        )
        return str(recording.start(provenance, ros_now(self)))

    def _end_episode(self, recording: Recording) -> str:
        # Waits for the disk: the reply says that the file is whole. Nothing else needs this
        # process meanwhile, and no episode is open.
        return str(recording.end(ros_now(self)))

    def _mark(self, outcome: Outcome, recording: Recording) -> str:
        return f"{recording.mark(outcome, 'operator', ros_now(self))}: {outcome}"

    def _discard(self, recording: Recording) -> str:
        return f"{recording.set_aside()}: discarded"

    def _end_because(self, reason: str) -> None:
        def abort(recording: Recording) -> str:
            recording.abort_unjudged(reason, ros_now(self))
            return self._end_episode(recording)

        self._report_errors(abort)

    def _each_second(self, publisher: Any) -> None:
        if self._recording is None:
            return
        problem = self._recording.problem()
        if problem:
            self._end_because(problem)
            self._problem = problem
            self.get_logger().error(f"recording stopped, the arm is not affected: {problem}")
        publisher.publish(self._diagnostics(self._recording))

    def _diagnostics(self, recording: Recording) -> DiagnosticArray:
        counted = recording.status()
        values = {
            "episodes": counted.episodes,
            "messages": counted.messages,
            "dropped": counted.dropped,
            "bytes": counted.size,
            "file": counted.file,
        }
        dropped = f"{counted.dropped} messages dropped" if counted.dropped else ""
        return diagnostics_to_msg(self, values, self._problem or dropped)


def _type_name(kind: type[Any]) -> str:
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def _software() -> str:
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return f"{PACKAGE} (not installed)"


def main(argv: list[str] | None = None) -> int:
    """Run the recorder until it is told to end."""

    def nodes() -> tuple[InterventionRecorder]:
        recorder = InterventionRecorder()
        recorder.autostart()
        return (recorder,)

    return run(nodes, argv)


if __name__ == "__main__":
    raise SystemExit(main())

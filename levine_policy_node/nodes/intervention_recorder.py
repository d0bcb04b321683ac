# SPDX-License-Identifier: Apache-2.0
"""Record every episode: raw subscriptions to one append-only MCAP file per episode.

The node subscribes without deserializing, hands the bytes to a writer thread and never publishes
to the robot. If it is slow, fails or dies, the arm does not notice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from levine_policy_node.core.cdr import CdrError, read_header, stamp_of
from levine_policy_node.core.episode import Outcome, trigger_of
from levine_policy_node.core.handovers import mode_changes
from levine_policy_node.core.message_bytes import read_diagnostics
from levine_policy_node.errors import RecordingError
from levine_policy_node.nodes.recorder_setup import RecorderParameters
from levine_policy_node.nodes.recorder_topics import (
    EVENTS_TOPIC,
    MODE_TOPIC,
    RAW_CHUNK_TOPIC,
    TASK_TOPIC,
    TOPICS,
    WITHOUT_HEADER,
    recorded_topic,
)
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.camera_topics import camera_topic
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.managed_node import ManagedNode
from levine_policy_node.ros.parameters import load_parameters
from levine_policy_node.runtime.episode_files import (
    create_session,
    hold_session,
    new_session_id,
)
from levine_policy_node.runtime.episode_recovery import recover_beside, unfinished_episodes
from levine_policy_node.runtime.mcap_writer import (
    RecordedMessage,
    RecordedTopic,
)
from levine_policy_node.runtime.recording import Recording
from levine_policy_node.runtime.session_document import session_document


class InterventionRecorder(ManagedNode):
    """Follows the supervisor's modes and the `recorder/*` services."""

    def __init__(self) -> None:
        super().__init__("intervention_recorder")
        self._settings = load_parameters(self, RecorderParameters)
        self._robot: Robot = load_robot(self._settings.robot)
        self._session = ""
        self._topics: dict[str, str] = {}
        self._recording: Recording | None = None
        self._mode: str | None = None
        self._task = ""
        self._active = False
        self._problem = ""
        self._entities: list[Callable[[], object]] = []

    def setup(self) -> None:
        """Create the session's directory, subscriptions and services."""
        root = Path(self._settings.root)
        left = list(unfinished_episodes(root))
        self._session = new_session_id()
        robot = {"name": self._robot.name, "sha256": self._robot.sha256}
        middleware = get_rmw_implementation_identifier()
        document = session_document(self._session, ros_now(self), robot, middleware)
        directory = create_session(root, self._session, document)
        # Until this process ends, whoever repairs what others left keeps out of here.
        self._entities.append(hold_session(directory))
        recover_beside(left, self.get_logger().warning)
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
        topic = recorded_topic(name, self.resolve_topic_name(name), kind, profile)
        self._topics[name] = topic.name
        callback = {
            MODE_TOPIC: self._on_mode,
            EVENTS_TOPIC: self._on_events,
            TASK_TOPIC: self._on_task,
            RAW_CHUNK_TOPIC: self._on_raw_chunk,
        }.get(name, self._record)
        subscription = self.create_subscription(
            kind,
            name,
            partial(callback, topic),
            profile,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=partial(self._lost, topic)),
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

    def _lost(self, topic: RecordedTopic, event: Any) -> None:
        """Count what the middleware did not deliver, as far as it notices."""
        if self._recording is not None:
            self._recording.lost(topic.name, int(event.total_count_change))

    def _record(self, topic: RecordedTopic, data: bytes) -> None:
        if self._recording is None:
            return
        now_ns = ros_now(self)
        made_ns = stamp_of(data) if topic.type_name not in WITHOUT_HEADER else None
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

    def _on_events(self, topic: RecordedTopic, data: bytes) -> None:
        self._record(topic, data)
        if self._recording is not None and self._recording.is_open:
            try:
                header, statuses = read_diagnostics(data)
            except CdrError as error:
                self.get_logger().warning(f"{topic.name}: {error}", once=True)
                return
            self._recording.explained(mode_changes([(header.stamp_ns, statuses)]))

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
        def live(name: str) -> Any:
            return self.get_parameter(name).value

        made = self._settings.provenance(self._session, self._robot, live)
        provenance = replace(made, task=self._task, topics=self._topics)
        now_ns = ros_now(self)
        opened = recording.start(provenance, now_ns)
        if self._mode is not None:
            recording.entered(self._mode, now_ns)
        return str(opened)

    def _operator(self) -> str:
        return self._settings.stored_operator(str(self.get_parameter("operator").value))

    def _end_episode(self, recording: Recording) -> str:
        # Waits for the disk: the reply says that the file is whole. Nothing else needs this
        # process meanwhile, and no episode is open.
        return str(recording.end(ros_now(self)))

    def _mark(self, outcome: Outcome, recording: Recording) -> str:
        return f"{recording.mark(outcome, 'operator', ros_now(self), self._operator())}: {outcome}"

    def _discard(self, recording: Recording) -> str:
        return f"{recording.set_aside(self._operator())}: discarded"

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
            "lost_in_transport": counted.lost,
            "bytes": counted.size,
            "file": counted.file,
        }
        dropped = f"{counted.dropped} messages dropped" if counted.dropped else ""
        return diagnostics_to_msg(self, values, self._problem or dropped)


def main(argv: list[str] | None = None) -> int:
    """Run the recorder until it is told to end."""

    def nodes() -> tuple[InterventionRecorder]:
        recorder = InterventionRecorder()
        recorder.autostart()
        return (recorder,)

    return run(nodes, argv)


if __name__ == "__main__":
    raise SystemExit(main())

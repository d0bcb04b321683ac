# SPDX-License-Identifier: Apache-2.0
"""Run a policy: align, infer, place, merge, publish.

Whoever brings the frame that was waited for asks for the inference, and the inference thread
places and publishes the chunk: no hand-over to another thread delays either. Callbacks only move
values. In `policy_runtime` frames come from the store that `camera_ingest` fills. As a process of
its own the node subscribes to the cameras itself: to the drivers' topics, and to
`camera/<name>/image` for cameras that a `camera_ingest` elsewhere reads from devices.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import String, UInt64
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.alignment import StreamFault
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.inference_pace import InferencePace
from levine_policy_node.core.inference_times import InferenceTimes
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import StampNs, nanoseconds, seconds
from levine_policy_node.nodes.policy_setup import (
    PolicyExecutorParameters,
    choose_merge,
    choose_replan,
    load_policy,
    make_replanner,
)
from levine_policy_node.ros import qos
from levine_policy_node.ros.camera_topics import CameraTopics, camera_topic
from levine_policy_node.ros.clocks import ros_now, steady_now
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.edge_log import EdgeLog
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.managed_node import ManagedNode
from levine_policy_node.ros.messages import (
    MessageError,
    action_chunk_to_msg,
    joint_sample_from_msg,
)
from levine_policy_node.ros.parameters import load_parameters
from levine_policy_node.runtime.inference_worker import (
    InferenceRequest,
    InferenceResult,
    InferenceWorker,
)
from levine_policy_node.runtime.merge_choice import merge_remarks, prefix_options
from levine_policy_node.runtime.replan_choice import describe, replan_remarks

POLICY_MODE = "POLICY"
STANDING_MODES = {"ARMED", "PAUSED"}

# Publishers are found one after the other, and a joint state may come a moment after the frame
# of its instant: no news until it lasts.
_START_PATIENCE_S = 1.0
_PATIENCE_S = 0.1


class PolicyExecutor(ManagedNode):
    """Publishes `policy/action_chunk`, `policy/raw_chunk` and `policy/heartbeat`.

    Args:
        store: Where `camera_ingest` of the same process puts frames; None to subscribe here.
    """

    def __init__(self, store: FrameStore | None = None) -> None:
        super().__init__("policy_executor")
        self.parameters = load_parameters(self, PolicyExecutorParameters)
        self._embedded = store is None
        self._store = FrameStore() if store is None else store
        self._times = InferenceTimes()
        self._pace = InferencePace()
        self._frame_ns = self._asked_ns = steady_now()
        self._observation_log = EdgeLog(self, "observations are complete again")
        self._inference_log = EdgeLog(self, "inference works again")
        self._joint_log = EdgeLog(self, "joint states are good again")
        self._rtc_log = EdgeLog(self, "the delay is one for real-time chunking again")
        self._release: list[Callable[[], object]] = []
        self._active = False
        self._patient_until_ns = 0
        self._mode = ""
        self._epoch = 1
        # Held while an observation is chosen, and while a chunk is placed or a prefix made of what
        # is played; the second may be taken while the first is held, never the other way round.
        self._planning = threading.Lock()
        self._placing = threading.Lock()
        self.cameras: tuple[str, ...] = ()

    def setup(self) -> None:
        """Load the robot file and the policy, then create everything that uses them."""
        loaded = load_policy(self.parameters)
        self._release.append(loaded.policy.close)
        self._robot, self._bundle = loaded.robot, loaded.bundle
        self.cameras = loaded.bundle.cameras
        replan = choose_replan(loaded, self.parameters)
        self._replanner = make_replanner(loaded, self.parameters, self._store, replan)
        merge = choose_merge(loaded, self.parameters)
        remarks = merge_remarks(loaded.bundle.document.chunk, merge)
        for remark in (*remarks, *replan_remarks(loaded.bundle, replan)):
            self.get_logger().warning(remark)
        self._placer = ChunkPlacer(
            loaded.robot.limits(), merge, prefix_options(loaded.bundle, merge)
        )
        self._create_outputs()
        self._create_inputs()
        self._worker = InferenceWorker(loaded.policy, self._on_result)
        self._release.append(self._worker.close)
        self.get_logger().info(
            f"{loaded.bundle.source} for {loaded.robot.name}, {describe(replan)}, "
            f"{merge.rule}, smoothing {merge.smoothing_s:g} s"
        )

    def start(self) -> None:
        """Begin to infer."""
        self._active = True
        self._be_patient(_START_PATIENCE_S)
        self._replanner.restart()
        self._store.listen(self._on_new_frame)

    def stop(self) -> None:
        """Stop inferring and fall silent."""
        self._active = False
        self._store.listen(None)

    def teardown(self) -> None:
        """End the worker and release everything, last things first."""
        while self._release:
            self._release.pop()()

    def _create_outputs(self) -> None:
        self._chunks = self._publisher(JointTrajectory, "policy/action_chunk", qos.COMMAND)
        self._raw = self._publisher(JointTrajectory, "policy/raw_chunk", qos.COMMAND)
        self._heartbeat = self._publisher(UInt64, "policy/heartbeat", qos.HEARTBEAT)
        self._diagnostics = self._publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def _create_inputs(self) -> None:
        for subscription in (
            self.create_subscription(
                JointState, "joint_states", self._on_joint_state, qos.JOINT_STATE_IN
            ),
            self.create_subscription(String, "supervisor/mode", self._on_mode, qos.MODE),
        ):
            self._release.append(lambda used=subscription: self.destroy_subscription(used))
        # The steady clock: a paused or stepped ROS clock must not silence the heartbeat.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, callback in (
            (1.0 / self.parameters.heartbeat_hz, self._on_tick),
            (1.0, self._on_second),
        ):
            timer = self.create_timer(period_s, callback, clock=steady)
            self._release.append(lambda used=timer: self.destroy_timer(used))
        if self._embedded:
            streams = {name: self._robot.cameras[name] for name in self.cameras}
            topics = {name: camera_topic(name, stream) for name, stream in streams.items()}
            self._release.append(CameraTopics(self, topics, self._store).close)

    def _publisher(self, kind: Any, topic: str, profile: Any) -> Any:
        publisher = self.create_lifecycle_publisher(kind, topic, profile)
        self._release.append(lambda: self.destroy_lifecycle_publisher(publisher))
        return publisher

    def _on_joint_state(self, message: JointState) -> None:
        try:
            sample = joint_sample_from_msg(message, self._robot.joint_names)
        except MessageError as error:
            self._joint_log.problem("message", f"joint state dropped: {error}")
            return
        self._joint_log.fine()
        self._replanner.add_joint_sample(sample)

    def _on_mode(self, message: String) -> None:
        entered = message.data == POLICY_MODE and self._mode != POLICY_MODE
        with self._placing:
            if message.data != self._mode:
                self._placer.reset()
            self._mode = message.data
            if entered:
                # What was inferred before belongs to another situation: start from the present.
                self._epoch += 1
        if entered:
            self._replanner.restart()
            self._plan()

    def _on_new_frame(self, stamp_ns: StampNs) -> None:
        """Infer if this may be the frame waited for; in the thread of the camera."""
        self._frame_ns = steady_now()
        if self._replanner.may_be_due(stamp_ns):
            self._plan()

    def _on_tick(self) -> None:
        if self._worker.failure is not None:
            # Not to be survived: this process ends, and the supervisor brakes.
            raise RuntimeError("the inference thread died") from self._worker.failure
        if not self._active:
            return
        if self._worker.alive and self._worker.longest_s() <= self.parameters.inference_timeout_s:
            self._heartbeat.publish(UInt64(data=self._worker.completed))
        with self._placing:
            starves = self._placer.starves(ros_now(self))
        if starves:
            self.get_logger().warning(self._pace.starved(self._placer.counts.starved))
        self._plan()

    def _plan(self) -> None:
        """Ask for an inference if one is due and there is an observation for it."""
        with self._planning:
            if self._active:
                self._observe()

    def _observe(self) -> None:
        now_ns = ros_now(self)
        found = self._replanner.observe(now_ns, self._placer.ends_ns)
        if isinstance(found, StreamFault):
            if steady_now() >= self._patient_until_ns:
                kind = (found.stream, found.problem)
                self._observation_log.problem(kind, f"no inference: {found}")
            return
        self._observation_log.fine()
        self._be_patient(_PATIENCE_S)
        if found is not None:
            self._times.observed(seconds(now_ns - found.stamp_ns))
            self._asked_ns = self._frame_ns
            with self._placing:
                prefix = self._placer.prefix(found.stamp_ns)
                request = InferenceRequest(found, self._epoch, prefix)
                self._rtc_log.tell(self._placer.rtc_problem)
            self._worker.submit(request)

    def _be_patient(self, patience_s: float) -> None:
        """Say nothing of missing observations for this long."""
        self._patient_until_ns = steady_now() + nanoseconds(patience_s)

    def _on_result(self, result: InferenceResult) -> None:
        """Take the chunk, and ask for the next if one is due now; in the inference thread."""
        self._take_result(result)
        self._replanner.answered()
        self._plan()

    def _take_result(self, result: InferenceResult) -> None:
        """Place and publish the chunk."""
        with self._placing:
            if not self._active or result.epoch != self._epoch:
                return
            self._times.inferred(result.duration_s)
            if result.chunk is None:
                self._inference_log.problem("inference", f"no chunk: {result.error}")
                return
            self._inference_log.fine()
            tag = f"{result.chunk.source}#{self._epoch}"
            chunk = replace(result.chunk, source=tag)
            self._pace.add(result.duration_s, self._publish_timeline(chunk))
            self._times.published(seconds(steady_now() - self._asked_ns), result.graph_s)
            self._raw.publish(action_chunk_to_msg(chunk))
            hopeless = self._pace.hopeless()
            if hopeless:
                self.get_logger().warning(hopeless)

    def _publish_timeline(self, chunk: ActionChunk) -> float:
        """Place and publish; return how long the rows are that were still due [s]."""
        playing = self._mode == POLICY_MODE
        standing = self._mode in STANDING_MODES
        merged = self._placer.place(chunk, ros_now(self), playing=playing, standing=standing)
        self._rtc_log.tell(self._placer.rtc_problem)
        if merged is None:
            self.get_logger().warning(
                "chunk dropped: inference took longer than the chunk is long",
                throttle_duration_sec=5.0,
            )
            return 0.0
        self._chunks.publish(trajectory_bytes(merged.timeline))
        return (len(chunk.positions) - merged.dropped_rows) * chunk.dt_s

    def _on_second(self) -> None:
        values: dict[str, str | float] = {
            "policy": f"{self._bundle.name}@{self._bundle.hash8}",
            "inferences": self._worker.completed,
            "chunk_left_ms_p50": self._pace.left_s * 1e3,
            **self._times.figures(),
            **self._placer.figures(),
        }
        logs = (self._observation_log, self._inference_log, self._joint_log, self._rtc_log)
        problem = next((log.text for log in logs if log.text), "")
        self._diagnostics.publish(diagnostics_to_msg(self, values, problem))


def main(argv: list[str] | None = None) -> int:
    """Run `policy_executor` as its own process."""

    def factory() -> Sequence[PolicyExecutor]:
        node = PolicyExecutor()
        if node.parameters.autostart:
            node.autostart()
        return (node,)

    return run(factory, argv)


if __name__ == "__main__":
    raise SystemExit(main())

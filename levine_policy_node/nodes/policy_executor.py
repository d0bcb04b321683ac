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

from sensor_msgs.msg import JointState
from std_msgs.msg import String, UInt64

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.alignment import StreamFault
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.inference_pace import InferencePace
from levine_policy_node.core.inference_times import InferenceTimes
from levine_policy_node.core.observation_news import ObservationNews
from levine_policy_node.core.units import StampNs, seconds
from levine_policy_node.nodes.holding import holding
from levine_policy_node.nodes.inference_log import InferenceLog
from levine_policy_node.nodes.policy_logs import PolicyLogs
from levine_policy_node.nodes.policy_ports import PolicyPorts
from levine_policy_node.nodes.policy_setup import PolicyExecutorParameters
from levine_policy_node.nodes.policy_slot import PolicySlot, make_slot, verified_bundle
from levine_policy_node.nodes.policy_swap import PolicySwap, SwapHost
from levine_policy_node.nodes.swap_parameters import SwapParameters
from levine_policy_node.robot import load_robot
from levine_policy_node.ros.clocks import ros_now, steady_now
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.effort_messages import placed_message
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.messages import (
    MessageError,
    action_chunk_to_msg,
    joint_sample_from_msg,
)
from levine_policy_node.ros.parameters import load_parameters
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.bundle_trial import Trials
from levine_policy_node.runtime.inference_worker import (
    InferenceRequest,
    InferenceResult,
    InferenceWorker,
)
from levine_policy_node.runtime.memory import return_large_blocks

POLICY_MODE = "POLICY"
STANDING_MODES = {"ARMED", "PAUSED"}
MOVING_MODES = {"POLICY", "HUMAN", "STOPPING"}


class PolicyExecutor(SwapHost):
    """Publishes `policy/action_chunk`, `raw_chunk`, `inference`, `heartbeat` and `problem`.

    Args:
        store: Where `camera_ingest` of the same process puts frames; None to subscribe here.
    """

    def __init__(self, store: FrameStore | None = None) -> None:
        super().__init__("policy_executor")
        self.parameters = load_parameters(self, PolicyExecutorParameters)
        self._embedded = store is not None
        self._store = FrameStore() if store is None else store
        self._times = InferenceTimes()
        self._pace = InferencePace()
        self._frame_ns = self._asked_ns = steady_now()
        self._logs = PolicyLogs(self, stops_bad_output=self.parameters.stop_on_bad_output)
        self._news = ObservationNews()
        self._trials = Trials()
        self._release: list[Callable[[], object]] = [self._trials.close]
        self._active = self._alone = False
        self._mode = ""
        self._epoch = 1
        # Held while an observation is chosen, and while a chunk is placed or a prefix made of what
        # is played; the second may be taken while the first is held, never the other way round.
        self._planning = threading.Lock()
        self._placing = threading.Lock()
        self.cameras: tuple[str, ...] = ()
        self._reads_task = self._reads_goal = False

    def setup(self) -> None:
        """Load the robot file and the policy, then create everything that uses them."""
        return_large_blocks()
        # Set after the node was made, it is what to begin with.
        policy = str(self.get_parameter("policy").value)
        self.robot = load_robot(self.parameters.robot)
        self._store.watch(self.parameters.frame_limits(self.robot))
        self._slot = self.make_slot(load_bundle(policy, self.parameters.trusted))
        self._release.append(self._close_policy)
        self.cameras = self._slot.bundle.cameras
        for remark in self._slot.remarks:
            self.get_logger().warning(remark)
        self._ports = PolicyPorts(self, self.robot)
        self._release.append(self._ports.close)
        self._inferences = InferenceLog(self.robot, self._ports.inference)
        self._release.append(self._inferences.close)
        self._worker = InferenceWorker(self._slot.policy, self._on_result)
        self._release.append(self._worker.close)
        self._swap = PolicySwap(self, policy, self._slot, self._worker)
        self._release.append(self._swap.close)
        self._requests = SwapParameters(self, self._swap, self._verify, self._beat)
        self._release.append(self._requests.close)
        self._ports.listen(self._on_joint_state, self._on_mode)
        self._ports.every(1.0 / self.parameters.heartbeat_hz, self._on_tick)
        self._ports.every(1.0, self._on_second)
        self.get_logger().info(self._slot.summary)

    def start(self) -> None:
        """Begin to infer."""
        self._active = True
        self._logs.starting()
        self._slot.replanner.restart()
        self._store.listen(self._on_new_frame)

    def stop(self) -> None:
        """Stop inferring and fall silent."""
        self._active = False
        self._store.listen(None)

    def teardown(self) -> None:
        """End the worker and release everything, last things first."""
        while self._release:
            self._release.pop()()

    def _close_policy(self) -> None:
        self._slot.policy.close()

    def make_slot(self, bundle: Bundle) -> PolicySlot:
        """Load and warm up; in a thread of its own while a policy runs."""
        slot = make_slot(bundle, self.robot, self.parameters, self._store, self._trials)
        # Subscribed to by the thread that spins.
        self.cameras = tuple(dict.fromkeys((*self.cameras, *slot.bundle.cameras)))
        self._reads_task |= bundle.document.reads_task
        self._reads_goal |= bundle.document.goal_frame is not None
        return slot

    def _verify(self, name: str) -> Bundle:
        """Refuse what cannot run here; in a thread of its own, and nothing is loaded."""
        settings, cameras = self.parameters, self.cameras if self._embedded else None
        return verified_bundle(name, settings.trusted, self.robot, cameras, settings.access)

    def use_slot(self, slot: PolicySlot) -> None:
        """Put a policy in the place of the active one; under both locks."""
        slot.continue_from(self._slot, ros_now(self))
        self._slot = slot
        # What the old policy is still asked, or has answered but not published, is not used.
        self._epoch += 1
        self._worker.use(slot.policy)
        self._times, self._pace = InferenceTimes(), InferencePace()

    def _offer_switch(self, *, seam: bool) -> None:
        if self._swap.waiting:
            with holding(self._planning, self._placing, wait=seam) as held:
                if held:
                    self._swap.moment(moving=self._mode in MOVING_MODES, seam=seam)

    def _on_joint_state(self, message: JointState) -> None:
        try:
            sample = joint_sample_from_msg(message, self.robot.joint_names)
        except MessageError as error:
            self._logs.joints.problem("message", f"joint state dropped: {error}")
            return
        self._logs.joints.fine()
        self._slot.replanner.add_joint_sample(sample)

    def _on_mode(self, message: String) -> None:
        entered = message.data == POLICY_MODE and self._mode != POLICY_MODE
        with self._placing:
            if message.data != self._mode:
                self._slot.placer.reset()
            self._mode = message.data
            if entered:
                # What was inferred before belongs to another situation: start from the present.
                self._epoch += 1
        if entered:
            self._slot.replanner.restart()
            self._plan()

    def _on_new_frame(self, stamp_ns: StampNs) -> None:
        """Infer if this may be the frame waited for; in the thread of the camera."""
        self._frame_ns = steady_now()
        if self._slot.replanner.may_be_due(stamp_ns):
            self._plan()

    def _on_tick(self) -> None:
        if self._worker.failure is not None:
            # Not to be survived: this process ends, and the supervisor brakes.
            raise RuntimeError("the inference thread died") from self._worker.failure
        if not self._active:
            return
        self._beat()
        self._requests.restore()
        if not self._embedded:
            self._ports.read(self.cameras, self._store)
        self._ports.hear(task=self._reads_task, goal=self._reads_goal)
        self._offer_switch(seam=False)
        with holding(self._placing, wait=False) as held:
            if held and self._slot.placer.starves(ros_now(self)):
                self.get_logger().warning(self._pace.starved(self._slot.placer.counts.starved))
        self._logs.supervisor.tell(self._ports.unsupervised)
        if self._ports.unsupervised is not None and not self._alone:
            with self._placing:
                # Nobody plays it any more.
                self._slot.placer.reset()
                self._epoch += 1
        self._alone = self._ports.unsupervised is not None
        self._plan(wait=False)
        self._ports.tell(self._news.tick())

    def _beat(self) -> None:
        lately = self._worker.longest_s() <= self.parameters.inference_timeout_s
        if self._active and self._worker.alive and lately:
            self._ports.heartbeat.publish(UInt64(data=self._worker.completed))

    def _plan(self, *, wait: bool = True) -> None:
        """Ask for an inference if one is due and there is an observation for it."""
        with holding(self._planning, wait=wait) as held:
            if held and self._active and self._ports.unsupervised is None:
                self._observe()

    def _observe(self) -> None:
        now_ns, slot = ros_now(self), self._slot
        slot.replanner.tell(self._ports.task, self._ports.goal)
        found = slot.replanner.observe(now_ns, slot.placer.ends_ns)
        fault = found if isinstance(found, StreamFault) else None
        self._ports.tell(self._news.observed(fault))
        if isinstance(found, StreamFault):
            self._logs.unobserved(found)
            return
        self._logs.observed()
        if found is not None:
            self._times.observed(seconds(now_ns - found.stamp_ns))
            self._asked_ns = self._frame_ns
            with self._placing:
                prefix = slot.placer.prefix(found.stamp_ns)
                request = InferenceRequest(found, self._epoch, prefix)
                self._logs.rtc.tell(slot.placer.rtc_problem)
            self._worker.submit(request)

    def _on_result(self, result: InferenceResult) -> None:
        """Take the chunk, and ask for the next if one is due now; in the inference thread."""
        used = self._take_result(result)
        self._inferences.add(result, ros_now(self), used=used)
        if result.policy is self._slot.policy:
            self._slot.replanner.answered()
        self._offer_switch(seam=True)
        if result.chunk is not None and result.policy is self._slot.policy:
            self._swap.compare(result.request.observation, result.chunk)
        self._plan()

    def _take_result(self, result: InferenceResult) -> bool:
        """Place and publish the chunk; whether there was one and it was still wanted."""
        with self._placing:
            if not self._active or result.epoch != self._epoch:
                return False
            self._times.inferred(result.duration_s)
            if result.chunk is None:
                self._logs.inference.problem("inference", f"no chunk: {result.error}")
                return False
            self._logs.inference.fine()
            tag = f"{result.chunk.source}#{self._epoch}"
            chunk = replace(result.chunk, source=tag)
            self._pace.add(result.duration_s, self._publish_timeline(chunk))
            self._times.published(seconds(steady_now() - self._asked_ns), result.graph_s)
            self._ports.raw.publish(action_chunk_to_msg(chunk))
            self._ports.tell(self._news.answered(self._logs.judged(chunk, self._slot.output)))
            return True

    def _publish_timeline(self, chunk: ActionChunk) -> float:
        """Place and publish; return how long the rows are that were still due [s]."""
        playing = self._mode == POLICY_MODE
        standing = self._mode in STANDING_MODES
        placer = self._slot.placer
        merged = placer.place(chunk, ros_now(self), playing=playing, standing=standing)
        self._logs.rtc.tell(placer.rtc_problem)
        if merged is None:
            self.get_logger().warning(
                "chunk dropped: inference took longer than the chunk is long",
                throttle_duration_sec=5.0,
            )
            return 0.0
        self._ports.chunks.publish(placed_message(merged.timeline))
        return (len(chunk.positions) - merged.dropped_rows) * chunk.dt_s

    def _on_second(self) -> None:
        if hopeless := self._pace.hopeless():
            self.get_logger().warning(hopeless)
        values: dict[str, str | float] = {
            "policy": self._slot.bundle.source.removeprefix("policy:"),
            "inferences": self._worker.completed,
            "chunk_left_ms_p50": self._pace.left_s * 1e3,
            **self._times.figures(),
            **self._slot.placer.figures(),
            **self._swap.figures(),
        }
        self._ports.diagnostics.publish(diagnostics_to_msg(self, values, self._logs.problem))


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

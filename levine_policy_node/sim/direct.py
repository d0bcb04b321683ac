# SPDX-License-Identifier: Apache-2.0
"""Policy, supervisor and simulated arm in one process, in simulated time, without ROS.

The same decisions as in the running graph, called in turn: the policy infers, `core.placement`
merges, `core.supervisor.step` decides each tick, and the simulated controller plays what it is
sent. Only transport and scheduling are missing, so this is what ROS is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.replan_rule import Requests, is_due
from levine_policy_node.core.success_rate import EpisodeResult, summarise
from levine_policy_node.core.supervision import (
    Decision,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorOptions,
    SupervisorState,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import NS_PER_S, StampNs, SteadyNs, nanoseconds
from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.collision_model import collision_model
from levine_policy_node.runtime.merge_choice import MergeChoice, merge_options, prefix_options
from levine_policy_node.runtime.policy_loader import LoadedPolicy, load_policy
from levine_policy_node.runtime.replan_choice import ReplanChoice, replan_options
from levine_policy_node.sim.arm import JointReading
from levine_policy_node.sim.controller_trajectory import command_of
from levine_policy_node.sim.joint_trajectory_controller import (
    JointTrajectoryController,
    TrajectoryControllerOptions,
)
from levine_policy_node.sim.plant import Plant, PlantOptions, hard_limits
from levine_policy_node.sim.scene import CameraRenderer
from levine_policy_node.sim.tasks import Episodes, make_task

_TICK_NS = nanoseconds(0.01)
_START = StampNs(NS_PER_S)
_ENGAGE_TIMEOUT_TICKS = 300
_STANDING = {Mode.ARMED, Mode.PAUSED}


@dataclass(frozen=True, slots=True)
class Delay:
    """What an inference costs in simulated time.

    Attributes:
        latency_s: From capture to the merged chunk [s].
        aligned: Rows are played at their time; False plays a chunk from its arrival on, as if its
            observation had been made then, to compare with.
    """

    latency_s: float = 0.0
    aligned: bool = True


def run_direct(
    *,
    robot: str,
    policy: str,
    episodes: Episodes,
    delay: Delay,
    merge: MergeChoice,
    on_episode: Callable[[int, EpisodeResult], None],
) -> dict[str, Any]:
    """Evaluate a policy and return the same results as through ROS, as far as they exist.

    Args:
        robot: Robot file of the simulated arm.
        policy: Bundle.
        episodes: Seeds and task.
        delay: From capture to the merged chunk.
        merge: How chunks are merged, where that is not left to the bundle.
        on_episode: Called with (index, result) after each episode.

    Raises:
        ConfigError: If robot and policy do not fit.
    """
    loaded = load_robot(robot)
    if loaded.controller.interface != "position":
        raise ConfigError(
            str(loaded.path),
            "controller.interface",
            "in one process only arms that take positions are simulated",
            "Leave out --direct",
        )
    runs = load_policy(load_bundle(policy), loaded)
    cell = DirectCell(loaded, runs, delay, merge, episodes.task)
    try:
        results: list[EpisodeResult] = []
        for index, seed in enumerate(episodes.seeds):
            results.append(cell.run_episode(seed))
            on_episode(index, results[-1])
        return {**summarise(results), **cell.measured()}
    finally:
        cell.close()


@dataclass(slots=True)
class _Pending:
    """A chunk that is being computed; `due_ns` is when it is there."""

    due_ns: int
    chunk: ActionChunk


class DirectCell:
    """A robot cell on a simulated clock."""

    def __init__(
        self,
        robot: Robot,
        policy: LoadedPolicy,
        delay: Delay,
        merge: MergeChoice,
        task: str = "pick_place",
    ) -> None:
        self._policy = policy
        self._delay = delay
        # Frames are rendered when they are wanted, so none comes a little early.
        self._replan = replace(replan_options(policy.bundle, robot, ReplanChoice()), slack_ns=0)
        names, limits = robot.joint_names, robot.limits()
        # Without a transport a window is there at once, so no lead has to bridge it.
        options = merge_options(policy.bundle.document.chunk, robot, merge)
        self._placer = ChunkPlacer(limits, options, prefix_options(policy.bundle, options))
        self._options = SupervisorOptions(
            limits=limits,
            home=robot.home_position(),
            exempt=~robot.arm_joints(),
            obstacles=collision_model(robot),
        )
        self._now = _START
        self._plant = Plant(
            JointTrajectoryController(names, _TICK_NS, TrajectoryControllerOptions()),
            hard_limits(limits, robot.margins()),
            PlantOptions(_TICK_NS),
            0,
            self._now,
            make_task(task),
        )
        self._renderers = {
            name: CameraRenderer(height=camera.height, width=camera.width)
            for name, camera in robot.cameras.items()
            if name in policy.bundle.cameras
        }
        self._state = SupervisorState()
        self._pending: _Pending | None = None
        self._observed_ns: StampNs | None = None
        self._needs = policy.bundle.document.context
        self._past: tuple[Observation, ...] = ()
        self._inferences = 0
        self._occurrences: list[str] = []
        self._rtc_problem: str | None = None

    def close(self) -> None:
        """Free cameras and policy."""
        for renderer in self._renderers.values():
            renderer.close()
        self._policy.close()

    def measured(self) -> dict[str, Any]:
        """Figures over all episodes."""
        report = self._plant.monitor.report()
        return {
            "limit_violations": report["total_violations"],
            "monitor": report,
            "inferences": self._inferences,
            **self._placer.figures(),
            "occurrences": self._occurrences,
        }

    def run_episode(self, seed: int) -> EpisodeResult:
        """Reset to `seed`, arm, engage, and let the policy act until the task ends."""
        self._plant.reset(seed, self._now)
        self._state = SupervisorState()
        self._placer.reset()
        self._policy.reset()
        self._pending, self._observed_ns, self._past = None, None, ()
        refusal = self._engage()
        if refusal:
            return EpisodeResult(seed, success=False, duration_s=0.0, ended_by=refusal)
        begun_s = self._plant.episode.time_s
        while self._state.mode.mode is Mode.POLICY and not self._over(begun_s):
            decision = self._tick()
            self._occurrences += [o.text for o in decision.occurrences if o.name not in {"MODE"}]
        episode = self._plant.episode
        duration_s = episode.time_s - begun_s
        if episode.success:
            ended_by = "success"
        elif episode.failed:
            ended_by = "failure"
        else:
            ended_by = "time" if self._state.mode.mode is Mode.POLICY else str(self._state.mode)
        return EpisodeResult(seed, episode.success, round(duration_s, 3), ended_by)

    def _over(self, begun_s: float) -> bool:
        episode = self._plant.episode
        late = episode.time_s - begun_s > self._plant.task.horizon_s
        return episode.success or episode.failed or late

    def _engage(self) -> str:
        """Arm and let the policy take over; return "" or why it may not."""
        acts, refusal = [Event.ARM, Event.ENGAGE], ""
        for _ in range(_ENGAGE_TIMEOUT_TICKS):
            reply = self._tick((Request(acts[0]),)).replies[0]
            refusal = reply.message
            if reply.accepted:
                acts.pop(0)
            if not acts:
                return ""
        return refusal

    def _tick(self, requests: tuple[Request, ...] = ()) -> Decision:
        """One control period: observe and infer if due, decide, send, let the arm move."""
        now = self._now
        reading = self._plant.read()
        self._infer_if_due(reading)
        self._remember(reading)
        steady = SteadyNs(int(now))
        inputs = Inputs(
            ros_offset_ns=0,
            measured=Measured(reading.position, reading.velocity, steady),
            heartbeat=Heartbeat(self._inferences, steady),
            chunks=self._arrived(),
            requests=requests,
        )
        if self._placer.starves(now):
            self._occurrences.append("starved: the timeline ended before a new chunk came")
        self._state, decision = step(self._state, steady, inputs, self._options)
        if decision.window is not None:
            self._plant.receive_trajectory(command_of(decision.window), now, steady)
        self._plant.step(now, reading)
        self._now = StampNs(now + _TICK_NS)
        return decision

    def _infer_if_due(self, reading: JointReading) -> None:
        requests = Requests(self._observed_ns, outstanding=self._pending is not None)
        if not is_due(requests, self._now, self._now, self._placer.ends_ns, self._replan):
            return
        self._observed_ns = self._now
        seen = self._observation(reading, self._renderers)
        observation = replace(seen, past=self._past)
        self._past = (*self._past, seen)[-self._needs.past_steps :]
        prefix = self._placer.prefix(observation.stamp_ns)
        self._tell_rtc()
        chunk = self._policy.infer(observation, prefix)
        self._inferences += 1
        due_ns = StampNs(self._now + nanoseconds(self._delay.latency_s))
        if not self._delay.aligned:
            chunk = replace(chunk, observed_ns=due_ns)
        self._pending = _Pending(due_ns, chunk)

    def _remember(self, reading: JointReading) -> None:
        """Note what a policy with a memory sees between inferences, a period apart."""
        steps, period_ns = self._needs.past_steps, nanoseconds(self._needs.period_s)
        due = not self._past or self._now - self._past[-1].stamp_ns >= period_ns
        if steps > 1 and due:
            seen = self._observation(reading, self._needs.past_cameras)
            self._past = (*self._past, seen)[-steps:]

    def _observation(self, reading: JointReading, cameras: Iterable[str]) -> Observation:
        scene = self._plant.scene_state()
        images = {name: self._renderers[name].render(name, scene) for name in cameras}
        return Observation(
            stamp_ns=self._now,
            joint_positions=reading.position,
            images=images,
            joint_velocities=reading.velocity,
            goal=self._plant.task.goal,
        )

    def _tell_rtc(self) -> None:
        """Note when real-time chunking begins not to get, or keep, its delay."""
        problem = self._placer.rtc_problem
        if problem is not None and problem[0] != self._rtc_problem:
            self._occurrences.append(problem[1])
        self._rtc_problem = None if problem is None else problem[0]

    def _arrived(self) -> tuple[Timeline[StampNs], ...]:
        if self._pending is None or self._now < self._pending.due_ns:
            return ()
        chunk, self._pending = self._pending.chunk, None
        mode = self._state.mode.mode
        merged = self._placer.place(
            chunk, self._now, playing=mode is Mode.POLICY, standing=mode in _STANDING
        )
        self._tell_rtc()
        return () if merged is None else (merged.timeline,)

# SPDX-License-Identifier: Apache-2.0
"""The process `policy_runtime`: aligns, infers, places and publishes with the production core.

The network is a smooth motion about a pose as a function of time, so that consecutive chunks
agree. How the pieces are put together is that of `nodes/policy_executor.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.alignment import AlignmentLimits, StreamFault
from levine_policy_node.core.frame_checks import FrameLimits
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.inference_pace import InferencePace
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.observation import JointSample, Observation
from levine_policy_node.core.observation_news import ObservationNews
from levine_policy_node.core.output_watch import OutputWatch
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds, seconds
from levine_policy_node.dst.arm import JointStates
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.cameras import Pixels
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.trace import Trace

_ROWS = 16
ROW_S = 0.05
"""Time between the rows of a chunk [s]."""

_REPLAN_S = 0.2
_BEAT_S = 0.02
_STANDING = {"ARMED", "PAUSED"}
# Shares of the limits that the motion takes.
_SHARES = (0.35, 0.25, 0.2)
_LARGEST_RAD = 0.3
# Where the motion passes its centre: about when the policy is engaged.
_BEGINS_S = 0.5
# Seconds since 1970 are too large for sines.
_WRAP_S = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """What the network asks for: `centre + size * sin(turn * (t - zero_s))`, each (J,)."""

    centre: FloatArray
    size: FloatArray
    turn: FloatArray
    zero_s: float

    @staticmethod
    def about(
        centre: FloatArray, limits: JointLimits, rng: random.Random, zero_s: float
    ) -> Motion:
        """A motion well within the limits, if `centre` leaves it room."""
        joints = len(centre)
        turn = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 2.0) for _ in range(joints)])
        allowed = (limits.velocity, limits.acceleration, limits.jerk)
        sizes = [
            share * limit / np.abs(turn) ** order
            for order, share, limit in zip((1, 2, 3), _SHARES, allowed, strict=True)
        ]
        room = np.minimum(limits.upper - centre, centre - limits.lower)
        size = np.minimum.reduce([*sizes, 0.8 * room, np.full(joints, _LARGEST_RAD)])
        return Motion(centre, size, turn, zero_s)

    def rows(self, first_s: float, count: int) -> FloatArray:
        """Targets every 50 ms from `first_s` on, shape (count, J) [rad]."""
        times_s = first_s - self.zero_s + ROW_S * np.arange(count)[:, None]
        return self.centre + self.size * np.sin(times_s * self.turn)


@dataclass(frozen=True, slots=True)
class PolicySetup:
    """How the executor is set up; the values are those of `config/policy_executor.param.yaml`."""

    camera_max_age_s: float = 0.2
    joint_max_age_s: float = 0.1
    frozen_motion_rad: float = 0.1
    lead_s: float = 0.1
    inference_timeout_s: float = 0.5
    inference_s: float = 0.03
    supervisor_timeout_s: float = 0.2


Spoil = Callable[[Timeline[StampNs]], bytes]


class PolicyProcess(Process):
    """One inference after the other, and a heartbeat beside them.

    Attributes:
        inference_s: How long an inference takes; infinite for one that never ends.
        rows: Changes the targets of each chunk before they are placed.
        spoil: Changes what is published, as a broken or hostile process could; None for nothing.
        output: Whether its chunks make sense.
        pace: What the executor knows of its own speed.
        published_ns: When it published a chunk last.
        asked_ns: When the inference of each chunk began, by the start it was published with.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        bus: Bus,
        limits: JointLimits,
        grippers: np.ndarray,
        setup: PolicySetup,
    ) -> None:
        super().__init__("policy", scheduler, trace, host="policy")
        self._bus, self._limits, self._setup = bus, limits, setup
        self._grippers = np.asarray(grippers, dtype=bool)
        self.inference_s = setup.inference_s
        self.rows: Callable[[FloatArray], FloatArray] = lambda rows: rows
        self.spoil: Spoil | None = None
        self.output = OutputWatch(limits, self._grippers)
        self.pace = InferencePace()
        self.published_ns = 0
        self.asked_ns: dict[StampNs, int] = {}
        self._clock: RosClock | None = None
        self._motion: Motion | None = None
        self._rng = random.Random(0)
        bus.subscribe("joint_states", self, self._on_joint_states)
        bus.subscribe("camera/image", self, self._on_frame)
        bus.subscribe("supervisor/mode", self, self._on_mode)
        bus.subscribe("supervisor/heartbeat", self, self._on_supervisor)

    def teach(self, centre: FloatArray, clock: RosClock, seed: str) -> None:
        """Say which motion it has learned and which clock it has, before it starts."""
        self._rng = random.Random(f"{seed}/policy")
        self._clock = clock
        zero_s = seconds(int(clock.now())) % _WRAP_S + _BEGINS_S
        self._motion = Motion.about(centre, self._limits, self._rng, zero_s)

    def boot(self) -> None:
        """Begin with nothing seen and nothing played."""
        setup, names = self._setup, self._limits.names
        self._store = FrameStore()
        self._store.watch(FrameLimits())
        self._news = ObservationNews()
        self._supervisor_ns: int | None = None
        alignment = AlignmentLimits(
            setup.camera_max_age_s,
            setup.joint_max_age_s,
            setup.frozen_motion_rad,
            ~self._grippers,
        )
        replan = ReplanOptions("every", nanoseconds(_REPLAN_S), nanoseconds(1.0 / 60.0))
        self._replanner = Replanner(self._store, ("front",), alignment, replan)
        grippers = tuple(n for n, it in zip(names, self._grippers, strict=True) if it)
        options = MergeOptions(rule="blend", lead_s=setup.lead_s, discrete=grippers)
        self._placer = ChunkPlacer(self._limits, options)
        self.output = OutputWatch(self._limits, self._grippers)
        self.pace = InferencePace()
        self._mode, self._epoch, self._completed = "", 1, 0
        self._busy_ns: int | None = None
        self.every(_BEAT_S, self._beat, first_s=self._rng.uniform(0.0, _BEAT_S))

    def _now(self) -> StampNs:
        return StampNs(0) if self._clock is None else self._clock.now()

    def _on_joint_states(self, message: JointStates) -> None:
        if np.all(np.isfinite(message.positions)) and message.names == self._limits.names:
            sample = JointSample(message.stamp_ns, message.positions, message.velocities)
            self._replanner.add_joint_sample(sample)

    def _on_frame(self, message: tuple[StampNs, Pixels]) -> None:
        stamp_ns, pixels = message
        self._store.put("front", stamp_ns, pixels)
        if self._replanner.may_be_due(stamp_ns):
            self._plan()

    def _on_supervisor(self, count: int) -> None:
        del count
        self._supervisor_ns = int(self.scheduler.now_ns)

    @property
    def _unsupervised(self) -> bool:
        if self._supervisor_ns is None:
            return False
        silent_s = seconds(int(self.scheduler.now_ns) - self._supervisor_ns)
        return silent_s > self._setup.supervisor_timeout_s

    def _on_mode(self, mode: str) -> None:
        entered = mode == "POLICY" and self._mode != "POLICY"
        if mode != self._mode:
            self._placer.reset()
        self._mode = mode
        if entered:
            self._epoch += 1
            self._replanner.restart()
            self._plan()

    def _beat(self) -> None:
        busy_s = 0.0
        if self._busy_ns is not None:
            busy_s = seconds(int(self.scheduler.now_ns) - self._busy_ns)
        if busy_s <= self._setup.inference_timeout_s:
            self._bus.publish(self, "policy/heartbeat", (self._completed, self._now()))
        self._placer.starves(self._now())
        if self._unsupervised:
            # Nobody plays it any more.
            self._placer.reset()
            self._epoch += 1
        self._plan()
        self._tell(self._news.tick())

    def _tell(self, problem: str | None) -> None:
        if problem is not None:
            self._bus.publish(self, "policy/problem", problem)

    def _plan(self) -> None:
        if self._unsupervised:
            return
        found = self._replanner.observe(self._now(), self._placer.ends_ns)
        self._tell(self._news.observed(found if isinstance(found, StreamFault) else None))
        if found is None or isinstance(found, StreamFault):
            return
        epoch, asked_ns = self._epoch, int(self.scheduler.now_ns)
        self._busy_ns = asked_ns
        if np.isfinite(self.inference_s):
            took_s = self.inference_s * self._rng.uniform(0.9, 1.2)
            self.later(took_s, lambda: self._inferred(found, epoch, asked_ns))

    def _inferred(self, seen: Observation, epoch: int, asked_ns: int) -> None:
        self._busy_ns = None
        self._completed += 1
        self._replanner.answered()
        if epoch == self._epoch and self._motion is not None:
            first_s = seconds(int(seen.stamp_ns)) % _WRAP_S + ROW_S
            rows = self.rows(self._motion.rows(first_s, _ROWS))
            chunk = ActionChunk(
                self._limits.names, seen.stamp_ns, ROW_S, rows, f"policy:dst@0#{epoch}"
            )
            took_s = seconds(int(self.scheduler.now_ns) - asked_ns)
            self.pace.add(took_s, self._publish(chunk, asked_ns))
            self._tell(self._news.answered(self.output.add(chunk)))
            if self.output.stuck() is not None:
                self.trace.add(self.scheduler.now_ns, "stuck")
        self._plan()

    def _publish(self, chunk: ActionChunk, asked_ns: int) -> float:
        merged = self._placer.place(
            chunk,
            self._now(),
            playing=self._mode == "POLICY",
            standing=self._mode in _STANDING,
        )
        if merged is None:
            return 0.0
        placed = merged.timeline
        data = trajectory_bytes(placed) if self.spoil is None else self.spoil(placed)
        if self.spoil is not None:
            self.trace.add(self.scheduler.now_ns, "spoiled", len(data))
        self.published_ns = int(self.scheduler.now_ns)
        self.asked_ns[placed.start_ns] = asked_ns
        self._bus.publish(self, "policy/action_chunk", data)
        return (len(chunk.positions) - merged.dropped_rows) * chunk.dt_s

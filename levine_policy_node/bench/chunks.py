# SPDX-License-Identifier: Apache-2.0
"""The seam benchmark: one policy stream through our placement and through the rules of others.

Ours is the code that runs on the robot, `core/placement.py` with `core/merge.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from levine_policy_node.bench.chunk_metrics import measure_arm, measure_gripper
from levine_policy_node.bench.chunk_stream import (
    Executor,
    Played,
    PolicyStream,
    StreamedChunk,
    StreamSpec,
    play,
)
from levine_policy_node.bench.peer_curves import (
    ArrivalSampler,
    CycloBuffer,
    IsaacSampler,
    JtcUpsampling,
    TrossenSlot,
)
from levine_policy_node.bench.peer_rules import (
    ActEnsemble,
    AxolClient,
    LeRobotInterpolated,
    LeRobotQueue,
    OpenPiBroker,
    PhysicalAiLerp,
)
from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds

PREFIX = "levine"
"""Every executor of ours is named so."""

_SKIP_S = 3.0

Row = dict[str, str | float]


class LevineExecutor:
    """Our placement: the newest timeline is sampled at every tick.

    The joint limits are generous (3 rad/s, 20 rad/s^2, 2000 rad/s^3; the gripper may switch in
    about 0.07 s), so that signals are compared and not limits: no other rule here has any.

    Args:
        spec: What the policy is like.
        options: How chunks join.
        more: Factor on the limits.
    """

    def __init__(self, spec: StreamSpec, options: MergeOptions, more: float = 1.0) -> None:
        self.starved = False
        self._names = (*(f"joint_{j}" for j in range(spec.joints)), "gripper")
        limits = _limits(self._names, spec.discrete).scaled(more)
        self._placer = ChunkPlacer(limits, options)
        self._timeline: Timeline[StampNs] | None = None

    def wants(self, now_s: float) -> bool:
        """Replan at once."""
        return True

    def requested(self, now_s: float) -> None:
        """Nothing to note: a chunk carries the stamp of its observation."""

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """Place the chunk."""
        # Row 0 of an ActionChunk is due one period after its observation, here at it.
        observed = StampNs(nanoseconds(chunk.observed_s) - nanoseconds(chunk.dt_s))
        placed = ActionChunk(self._names, observed, chunk.dt_s, chunk.rows, "policy:bench@0#1")
        merged = self._placer.place(placed, StampNs(nanoseconds(now_s)), playing=True)
        if merged is not None:
            self._timeline = merged.timeline

    def command(self, now_s: float) -> FloatArray | None:
        """The position of the timeline."""
        if self._timeline is None:
            return None
        now_ns = StampNs(nanoseconds(now_s))
        self.starved = now_ns > self._timeline.end_ns
        return self._timeline.sample(now_ns).position


def _limits(names: tuple[str, ...], discrete: np.ndarray) -> JointLimits:
    def each(arm: float, gripper: float) -> FloatArray:
        return np.where(discrete, gripper, arm)

    return JointLimits(
        names,
        lower=each(-10.0, 0.0),
        upper=each(10.0, 1.0),
        velocity=each(3.0, 30.0),
        acceleration=each(20.0, 2000.0),
        jerk=each(2000.0, 2e5),
    )


def _peer(spec: StreamSpec, *, rule: Callable[[float], Executor]) -> Executor:
    return rule(1.0 / spec.policy_hz)


_OPTIONS = MergeOptions(
    rule="blend", blend_s=0.4, smoothing_s=0.06, lead_s=0.02, discrete=("gripper",)
)

EXECUTORS: Mapping[str, Callable[[StreamSpec], Executor]] = {
    f"{PREFIX} blend + smoothing 60 ms": partial(LevineExecutor, options=_OPTIONS),
    f"{PREFIX} ensemble + smoothing 60 ms": partial(
        LevineExecutor, options=replace(_OPTIONS, rule="ensemble")
    ),
    **{
        name: partial(_peer, rule=rule)
        for name, rule in {
            "openpi ActionChunkBroker": OpenPiBroker,
            "LeRobot async latest_only": partial(LeRobotQueue, old_share=0.0),
            "LeRobot async weighted_average": partial(LeRobotQueue, old_share=0.3),
            "LeRobot weighted_average + ActionInterpolator": partial(
                LeRobotInterpolated, old_share=0.3
            ),
            "ACT temporal ensemble": ActEnsemble,
            "physicalai LerpSmoother(5)": PhysicalAiLerp,
            "trossen ChunkSlot + 0.2 s fade": TrossenSlot,
            "linear, played from arrival": ArrivalSampler,
            "Isaac ROS Deploy chunk_sampler": IsaacSampler,
            "cyclo ActionChunkProcessor": CycloBuffer,
            "JTC upsampling (#2491), from arrival": partial(
                JtcUpsampling, continuous=False, trimmed=False
            ),
            "JTC + velocity continuity (#2573), from arrival": partial(
                JtcUpsampling, continuous=True, trimmed=False
            ),
            "JTC + continuity, sender trims": partial(
                JtcUpsampling, continuous=True, trimmed=True
            ),
            "axol align + ensemble + filter": AxolClient,
        }.items()
    },
}

"""What is compared; ours come first."""

ABLATIONS: Mapping[str, Callable[[StreamSpec], Executor]] = {
    f"{PREFIX} replace + smoothing 60 ms": partial(
        LevineExecutor, options=replace(_OPTIONS, rule="replace")
    ),
    # The noise of the rows alone breaks ordinary limits, and the chunk would be slowed.
    f"{PREFIX} blend, no smoothing": partial(
        LevineExecutor, options=replace(_OPTIONS, smoothing_s=0.0), more=20.0
    ),
}
"""Ours with a part left out."""


@dataclass(frozen=True, slots=True)
class ChunkBench:
    """What is run.

    Attributes:
        policies_hz: Policy rates [Hz].
        latencies_s: Mean latency and jitter of each case [s].
        seeds: How many streams per case.
        duration_s: Length of each [s].
        executors: Names from `EXECUTORS` or `ABLATIONS`.
    """

    policies_hz: tuple[float, ...] = (10.0, 25.0, 50.0)
    latencies_s: tuple[tuple[float, float], ...] = ((0.1, 0.02), (0.15, 0.03), (0.3, 0.06))
    seeds: int = 2
    duration_s: float = 12.0
    executors: tuple[str, ...] = tuple(EXECUTORS)

    def middle(self) -> ChunkBench:
        """The same with only the middle policy rate and latency."""
        hz, latencies_s = sorted(self.policies_hz), sorted(self.latencies_s)
        return replace(
            self,
            policies_hz=(hz[len(hz) // 2],),
            latencies_s=(latencies_s[len(latencies_s) // 2],),
        )

    def specs(self) -> Iterator[StreamSpec]:
        """One stream per policy rate and latency."""
        for policy_hz, (mean_s, jitter_s) in itertools.product(self.policies_hz, self.latencies_s):
            yield StreamSpec(policy_hz=policy_hz, latency_s=mean_s, jitter_s=jitter_s)


def run_chunks(bench: ChunkBench, on_case: Callable[[StreamSpec], None]) -> list[Row]:
    """Run every executor on every stream.

    Args:
        bench: What to run.
        on_case: Called before each stream.

    Returns:
        One row per executor and case: the means over the seeds of `ArmMetrics` and
        `GripperMetrics`, and what was run.
    """
    rows: list[Row] = []
    for spec in bench.specs():
        on_case(spec)
        rows.extend(_row(name, spec, bench) for name in bench.executors)
    return rows


def play_executor(name: str, spec: StreamSpec, seed: int, duration_s: float) -> Played:
    """What one executor sends on one stream; the first seconds are left out."""
    executor = {**EXECUTORS, **ABLATIONS}[name](spec)
    return play(PolicyStream(spec, seed), executor, duration_s, _SKIP_S)


def _row(name: str, spec: StreamSpec, bench: ChunkBench) -> Row:
    found: list[dict[str, float]] = []
    for seed in range(bench.seeds):
        played = play_executor(name, spec, seed, bench.duration_s)
        motion = PolicyStream(spec, seed).motion
        found.append(asdict(measure_arm(played, motion)) | asdict(measure_gripper(played, motion)))
    means = {key: float(np.mean([metrics[key] for metrics in found])) for key in found[0]}
    return {
        "executor": name,
        "policy_hz": spec.policy_hz,
        "latency_ms": 1000.0 * spec.latency_s,
        "jitter_ms": 1000.0 * spec.jitter_s,
        "seeds": float(bench.seeds),
        **means,
    }

# SPDX-License-Identifier: Apache-2.0
"""A synthetic policy: a known motion, and chunks that predict it late, noisily and with a bias.

Every executor is given the same chunks of the same seed, so what differs is the executor alone.
The policy does not react to what is executed: this measures signals, not tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from levine_policy_node.core.units import FloatArray

OUTPUT_HZ = 100.0

_SINES = 3
_MOTION_HZ = (0.2, 0.6)
_RMS_ACCELERATION = 1.21
_GRIPPER_PHASE_S = (1.2, 3.0)
_HORIZON_S = 120.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What the policy is like.

    Attributes:
        policy_hz: Rows per second of a chunk.
        latency_s: Mean time from observation to chunk [s].
        jitter_s: The latency is uniform within this of its mean [s].
        chunk_s: Length of a chunk [s].
        joints: Arm joints; one gripper that opens and closes comes after them.
        bias_rad: Standard deviation of an offset that one chunk has in all rows [rad].
        noise_rad: Standard deviation of independent noise in every row [rad].
        tracking_lag_s: A chunk begins where the arm was this long before the observation, because
            an arm trails its command [s].
        anchor_s: Time constant with which a chunk leaves that start for the motion [s].
        switch_jitter_s: Standard deviation of when a chunk lets the gripper switch [s].
    """

    policy_hz: float = 25.0
    latency_s: float = 0.15
    jitter_s: float = 0.03
    chunk_s: float = 2.0
    joints: int = 6
    bias_rad: float = 0.015
    noise_rad: float = 0.002
    tracking_lag_s: float = 0.06
    anchor_s: float = 0.27
    switch_jitter_s: float = 0.02

    @property
    def discrete(self) -> np.ndarray:
        """Mask (J,) of the columns that switch: the last."""
        return np.arange(self.joints + 1) == self.joints


@dataclass(frozen=True, slots=True)
class StreamedChunk:
    """One prediction; row i is what the arm should do at `observed_s + i * dt_s`.

    Attributes:
        observed_s: When its observation was captured [s].
        arrival_s: When it is there [s].
        dt_s: Time between rows [s].
        rows: Shape (T, J) [rad], the gripper last.
        discrete: Mask (J,) of columns that switch.
    """

    observed_s: float
    arrival_s: float
    dt_s: float
    rows: FloatArray
    discrete: np.ndarray

    @property
    def times_s(self) -> FloatArray:
        """When each row is meant for, shape (T,) [s]."""
        return self.observed_s + self.dt_s * np.arange(len(self.rows), dtype=np.float64)


class Motion:
    """What the arm should do: sums of sines per joint, and a gripper that opens and closes.

    Every sine has the same acceleration amplitude; with the frequencies between 0.2 and 0.6 Hz
    that gives RMS 1.2 rad/s^2 and about 3.2 rad/s^3.
    """

    def __init__(self, joints: int, seed: int) -> None:
        random = np.random.default_rng([seed, 0])
        low, high = _MOTION_HZ
        # One frequency from each third of the band, so that every seed is about as fast.
        thirds = (np.arange(_SINES)[:, None] + random.random((_SINES, joints))) / _SINES
        self._rates = 2.0 * math.pi * (low + (high - low) * thirds)
        self._phases = random.uniform(0.0, 2.0 * math.pi, self._rates.shape)
        amplitude = _RMS_ACCELERATION * math.sqrt(2.0 / _SINES)
        self._amplitudes = amplitude / self._rates**2
        phases_s = random.uniform(*_GRIPPER_PHASE_S, round(_HORIZON_S / _GRIPPER_PHASE_S[0]))
        self.switches_s: FloatArray = np.cumsum(phases_s)

    def arm(self, times_s: FloatArray) -> FloatArray:
        """Joint positions, shape (N, J) [rad]."""
        angles = times_s[:, None, None] * self._rates + self._phases
        return np.asarray((self._amplitudes * np.sin(angles)).sum(axis=1), dtype=np.float64)

    def gripper(self, times_s: FloatArray) -> FloatArray:
        """0 (open) or 1 (closed) at the given times, shape (N,)."""
        passed = np.searchsorted(self.switches_s, times_s, side="right")
        return (passed % 2).astype(np.float64)


class PolicyStream:
    """Chunks of one seed. The n-th chunk has the same errors whoever asks for it."""

    def __init__(self, spec: StreamSpec, seed: int) -> None:
        self.spec = spec
        self.motion = Motion(spec.joints, seed)
        self._random = np.random.default_rng([seed, 1])

    def observe(self, now_s: float) -> StreamedChunk:
        """The chunk of an observation captured at `now_s` [s]."""
        spec, random = self.spec, self._random
        count = round(spec.chunk_s * spec.policy_hz)
        ahead_s = np.arange(count) / spec.policy_hz
        latency_s = spec.latency_s + random.uniform(-spec.jitter_s, spec.jitter_s)
        bias = random.normal(0.0, spec.bias_rad, spec.joints)
        noise = random.normal(0.0, spec.noise_rad, (count, spec.joints))
        switch_s = random.normal(0.0, spec.switch_jitter_s)
        anchor = self.motion.arm(np.array([now_s - spec.tracking_lag_s, now_s]))
        trailing = (anchor[0] - anchor[1]) * np.exp(-ahead_s / spec.anchor_s)[:, None]
        arm = self.motion.arm(now_s + ahead_s) + trailing + bias + noise
        gripper = self.motion.gripper(now_s + ahead_s + switch_s)
        rows = np.column_stack([arm, gripper])
        return StreamedChunk(now_s, now_s + latency_s, 1.0 / spec.policy_hz, rows, spec.discrete)


class Executor(Protocol):
    """Turns chunks into a command every tick."""

    starved: bool
    """Whether the last command was held for want of anything newer."""

    def wants(self, now_s: float) -> bool:
        """Whether to observe now; asked only while no chunk is on its way."""
        ...

    def requested(self, now_s: float) -> None:
        """An observation was captured at `now_s` [s]."""
        ...

    def receive(self, chunk: StreamedChunk, now_s: float) -> None:
        """A chunk arrives."""
        ...

    def command(self, now_s: float) -> FloatArray | None:
        """What to send at this tick, shape (J,) [rad]; None before the first chunk."""
        ...


@dataclass(frozen=True, slots=True)
class Played:
    """What an executor sent.

    Attributes:
        times_s: Ticks (N,) [s].
        commands: Shape (N, J) [rad].
        starved: Ticks (N,) at which nothing newer than the last command was there.
    """

    times_s: FloatArray
    commands: FloatArray
    starved: np.ndarray


@dataclass(slots=True)
class _Inference:
    """At most one chunk is on its way."""

    stream: PolicyStream
    executor: Executor
    pending: StreamedChunk | None = field(default=None)

    def advance(self, now_s: float) -> None:
        """Deliver what has arrived by `now_s`, and observe again as soon as it is wanted."""
        while self.pending is not None and self.pending.arrival_s <= now_s:
            chunk, self.pending = self.pending, None
            self.executor.receive(chunk, chunk.arrival_s)
            self._observe(chunk.arrival_s)
        self._observe(now_s)

    def _observe(self, now_s: float) -> None:
        if self.pending is None and self.executor.wants(now_s):
            self.executor.requested(now_s)
            self.pending = self.stream.observe(now_s)


def play(stream: PolicyStream, executor: Executor, duration_s: float, skip_s: float) -> Played:
    """Run one executor on one stream at `OUTPUT_HZ`.

    Args:
        stream: A fresh stream; it is used up.
        executor: A fresh executor.
        duration_s: Length of what is returned [s].
        skip_s: What to leave out at the start, where no chunk is there yet [s].
    """
    inference = _Inference(stream, executor)
    ticks = np.arange(round((skip_s + duration_s) * OUTPUT_HZ)) / OUTPUT_HZ
    first = round(skip_s * OUTPUT_HZ)
    commands = np.zeros((len(ticks), stream.spec.joints + 1))
    starved = np.zeros(len(ticks), dtype=bool)
    for n, now_s in enumerate(ticks.tolist()):
        inference.advance(now_s)
        command = executor.command(now_s)
        if command is not None:
            commands[n], starved[n] = command, executor.starved
    return Played(ticks[first:], commands[first:], starved[first:])

# SPDX-License-Identifier: Apache-2.0
"""Random streams of commands and acts that try to make the supervisor send something unsafe.

A *life* is one supervisor from boot on, with an arm that follows perfectly: it is armed, engaged
or taken over, and goes through `SEQUENCES` sequences. A *sequence* begins with something drawn
from `unsafe_disturbances.py` and goes on for `TICKS` ticks, with a new chunk every few of them.
Lives are numbered and seeded one by one, so any of them can be run again by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from levine_policy_node.core.acts import prepare_chunk
from levine_policy_node.core.modes import ACTIVE, LATCHED, Event, Mode
from levine_policy_node.core.supervision import (
    Chunk,
    Decision,
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorOptions,
    SupervisorState,
    Target,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import FloatArray, StampNs, SteadyNs

SEQUENCES = 25
TICKS = 8
MS = 1_000_000
_OFFSET_NS = 1_700_000_000_123_456_789
_LATE_MS = (0.3, 1.5, 3.0, 15.0, 22.0, 33.0, 60.0, 90.0, 150.0, 400.0, 4000.0)


@dataclass(frozen=True, slots=True)
class Sent:
    """One tick of a life: when it was, and what was decided."""

    now_ns: int
    decision: Decision


@dataclass
class Life:
    """One supervisor with a world that is drawn at random."""

    options: SupervisorOptions
    rng: np.random.Generator
    now_ns: int = 100_000 * MS
    state: SupervisorState = field(default_factory=SupervisorState)
    position: FloatArray = field(default_factory=lambda: np.zeros(0))
    velocity: FloatArray = field(default_factory=lambda: np.zeros(0))
    offset_ns: int = _OFFSET_NS
    policy: bool = True
    target: FloatArray | None = None
    inferences: int = 0

    def __post_init__(self) -> None:
        limits, rng = self.options.limits, self.rng
        share = rng.uniform(0.0, 1.0, len(limits.names))
        if rng.random() < 0.3:
            share = np.round(share)
        self.position = limits.lower + share * (limits.upper - limits.lower)
        self.velocity = np.zeros_like(self.position)

    def sequence(self, disturb: Disturbance) -> list[Sent]:
        """The next sequence of this life, disturbed in one of its first ticks."""
        sent: list[Sent] = []
        acts = self._towards_motion()
        disturbed = int(self.rng.integers(TICKS // 2))
        for k in range(TICKS):
            extra = Inputs(self.offset_ns)
            late_ms = 10.0 + self.rng.uniform(-1.0, 1.0)
            if k == disturbed:
                extra = disturb(self, extra)
                if self.rng.random() < 0.3:
                    late_ms = float(self.rng.choice(_LATE_MS))
            due = bool(acts) or self.rng.random() < 0.25
            if self.policy and not extra.chunks and due:
                extra = replace(extra, chunks=(self.handed_over(self.wave()),))
            sent.append(self.tick(extra, acts, late_ms))
            acts = ()
        self.policy = True
        if self.rng.random() < 0.5:
            self.target = None
        return sent

    def wave(self, away: float = 0.003, size: float = 0.8) -> Timeline[StampNs]:
        """A smooth chunk that begins near the arm.

        Args:
            away: How far from the arm it begins at most, in shares of the position range.
            size: How large and fast it is at most, in shares of what the limits allow.
        """
        rng, limits = self.rng, self.options.limits
        dt_ns = int(rng.choice([10, 20, 33, 50])) * MS
        times_s = np.arange(int(rng.integers(16, 30))) * dt_ns / 1e9
        pulse = rng.uniform(0.5, 10.0, len(limits.names))
        # About a turning point it begins at rest, where an arm that stands can join.
        phase = 0.5 * np.pi + rng.choice([0.0, 0.3, 3.0]) * rng.uniform(-1.0, 1.0, len(pulse))
        turn = times_s[:, None] * pulse + phase * rng.choice([-1.0, 1.0], len(pulse))
        reach = limits.upper - limits.lower
        room = np.minimum.reduce(
            [
                0.5 * reach,
                limits.velocity / pulse,
                limits.acceleration / pulse**2,
                limits.jerk / pulse**3,
            ]
        )
        wide = size * rng.uniform(0.0, 1.0, len(reach)) * room
        begin = self.position + away * reach * rng.uniform(-1.0, 1.0, len(reach))
        late_ns = int(rng.integers(0, 60 * MS))
        return Timeline(
            limits.names,
            StampNs(self.offset_ns + self.now_ns - late_ns),
            times_s,
            begin + wide * (np.sin(turn) - np.sin(turn[0])),
            wide * pulse * np.cos(turn),
            -wide * pulse**2 * np.sin(turn),
            "policy:random@0#0",
        )

    def handed_over(self, chunk: Timeline[StampNs]) -> Chunk:
        """The chunk as it comes to the tick: often worked out beside the loop before."""
        if self.rng.random() < 0.5:
            return chunk
        then = SteadyNs(self.now_ns - int(self.rng.integers(1, 20)) * MS)
        return prepare_chunk(chunk, self.state, then, self.options)

    def _towards_motion(self) -> tuple[Event, ...]:
        """Acts that a person in a hurry would ask for, most of the time."""
        mode = self.state.mode.mode
        if self.rng.random() < 0.05:
            return ()
        if mode in LATCHED:
            return (Event.RESET,)
        begin = Event.HOME if self.rng.random() < 0.1 else Event.ENGAGE
        if mode in {Mode.INIT, Mode.DISARMED}:
            return (Event.ARM, begin)
        if mode is Mode.ARMED:
            return (begin,)
        return {Mode.PAUSED: (Event.RESUME,), Mode.HUMAN: (Event.HANDBACK,)}.get(mode, ())

    def tick(self, extra: Inputs, acts: tuple[Event, ...], late_ms: float = 10.0) -> Sent:
        """One tick, `late_ms` after the last, with what `extra` brings besides the usual."""
        self.now_ns += max(1, round(late_ms * MS))
        now = SteadyNs(self.now_ns)
        self.inferences += self.policy
        measured = extra.measured or Measured(self.position, self.velocity, SteadyNs(now - 2 * MS))
        target = None
        if self.target is not None:
            target = Target(self.target, "operator:random", SteadyNs(now - MS))
        requests = (*(Request(act) for act in acts), *extra.requests)
        inputs = replace(
            extra,
            measured=measured,
            heartbeat=Heartbeat(self.inferences, SteadyNs(now - (1 if self.policy else 500) * MS)),
            target=target,
            requests=requests,
        )
        self.state, decision = step(self.state, now, inputs, self.options)
        if decision.command is not None and np.isfinite(decision.command.position).all():
            self.velocity = decision.command.velocity
            self.position = decision.command.position
        else:
            self.velocity = np.zeros_like(self.position)
        return Sent(self.now_ns, decision)


def moving(sent: list[Sent]) -> int:
    """In how many of these ticks a policy or a person moved the arm."""
    return sum(one.decision.mode.mode in ACTIVE for one in sent)


Disturbance = Callable[[Life, Inputs], Inputs]
"""Changes the life, and what one of its ticks brings."""

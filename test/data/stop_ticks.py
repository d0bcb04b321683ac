# SPDX-License-Identifier: Apache-2.0
"""Ticks of a real supervisor whose policy falls silent, for tests of the black box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from levine_policy_node.core.modes import Event
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
from levine_policy_node.core.tick_record import pack_tick
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, SteadyNs, seconds
from levine_policy_node.robot import Robot, load_robot

MS = 1_000_000
BEGIN_NS = 100 * 1_000_000_000
OFFSET_NS = 1_795_300_000_123_456_789
ROBOT = load_robot("sim_so101")
OPTIONS = SupervisorOptions(
    limits=ROBOT.limits(), home=ROBOT.home_position(), exempt=~ROBOT.arm_joints()
)


def swing(now_ns: int, robot: Robot = ROBOT) -> Timeline[StampNs]:
    """A chunk of 1.2 s, a function of absolute time, so that consecutive ones agree."""
    limits = robot.limits()
    middle = 0.5 * (limits.lower + limits.upper)
    times_s = np.arange(25) * 0.05
    turn = 2.0 * (seconds(now_ns) + times_s)[:, None]
    size = np.linspace(0.3, 0.1, len(middle))
    return Timeline(
        robot.joint_names,
        StampNs(OFFSET_NS + now_ns),
        times_s,
        middle + size * np.sin(turn),
        2.0 * size * np.cos(turn),
        -4.0 * size * np.sin(turn),
        "policy:swing@0badcafe#0",
    )


@dataclass
class Scene:
    """A supervisor, an arm that follows 20 ms late, and a policy that can be switched off."""

    now_ns: int = BEGIN_NS
    policy: bool = True
    state: SupervisorState = field(default_factory=SupervisorState)
    inferences: int = 0
    number: int = 0
    measured: Measured | None = None
    heartbeat: Heartbeat | None = None
    commands: list[np.ndarray] = field(default_factory=list)
    inputs: Inputs = field(default_factory=lambda: Inputs(OFFSET_NS))
    decision: Decision | None = None

    def tick(self, *acts: Event) -> bytes:
        """Decide the next tick; returns it as the black box gets it."""
        self.now_ns += 10 * MS
        self.number += 1
        now = SteadyNs(self.now_ns)
        self._see(now)
        chunks = ()
        if self.policy and self.number % 4 == 0:
            self.inferences += 1
            chunks = (swing(self.now_ns - 20 * MS),)
        if self.policy and self.number % 2 == 0:
            self.heartbeat = Heartbeat(self.inferences, SteadyNs(now - MS))
        requests = tuple(Request(act, i) for i, act in enumerate(acts))
        self.inputs = Inputs(
            OFFSET_NS, self.measured, self.heartbeat, chunks=chunks, requests=requests
        )
        self.state, self.decision = step(self.state, now, self.inputs, OPTIONS)
        if self.decision.command is not None:
            self.commands.append(self.decision.command.position)
        return pack_tick(self.number, now, SteadyNs(now + MS // 2), self.inputs, self.decision)

    def _see(self, now: SteadyNs) -> None:
        start = swing(BEGIN_NS).positions[0]
        seen = [start, start, start, *self.commands][-3:-1]
        velocity = (seen[1] - seen[0]) / 0.01
        self.measured = Measured(seen[0].copy(), velocity, SteadyNs(now - 3 * MS))

    def run(self, seconds_: float, *acts: Event) -> Iterator[bytes]:
        """Ticks for a while; the acts come with the first of them."""
        for i in range(round(seconds_ * 100)):
            yield self.tick(*(acts if i == 0 else ()))


def silenced(before_s: float = 1.8, after_s: float = 1.5) -> list[bytes]:
    """The ticks of an arm that a policy moves until it falls silent."""
    scene = Scene()
    ticks = [*scene.run(0.1), *scene.run(0.1, Event.ARM), *scene.run(before_s, Event.ENGAGE)]
    scene.policy = False
    return [*ticks, *scene.run(after_s)]

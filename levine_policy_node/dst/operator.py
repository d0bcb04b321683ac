# SPDX-License-Identifier: Apache-2.0
"""The processes of people: a panel with acts, a leader arm, and the lines of the cell."""

from __future__ import annotations

import random

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import Event
from levine_policy_node.core.units import FloatArray, seconds
from levine_policy_node.dst.arm import JointStates
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.trace import Trace

_TARGET_S = 0.02
_LINE_S = 0.05


class OperatorProcess(Process):
    """Asks for acts, and streams targets while `leading`.

    Attributes:
        leading: Whether the leader arm sends.
        nan: Whether it sends what is not a number.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        bus: Bus,
        limits: JointLimits,
        clock: RosClock,
    ) -> None:
        super().__init__("operator", scheduler, trace, host="operator")
        self._bus, self._limits, self._clock = bus, limits, clock
        self.leading = False
        self.nan = False
        self._centre = np.zeros(len(limits.names))
        self._turn = 1.0

    def hold(self, centre: FloatArray, seed: str) -> None:
        """Say where the leader arm is; it moves about there."""
        self._centre = np.array(centre)
        self._turn = random.Random(f"{seed}/operator").uniform(1.0, 3.0)

    def boot(self) -> None:
        """Begin to stream."""
        self.every(_TARGET_S, self._stream)

    def ask(self, *acts: Event) -> None:
        """Call services of the supervisor."""
        for act in acts:
            if self.alive:
                self._bus.publish(self, "operator/act", act)

    def _stream(self) -> None:
        if not self.leading:
            return
        swing = 0.15 * np.sin(self._turn * (seconds(int(self.scheduler.now_ns)) % 1e6))
        target = np.clip(self._centre + swing, self._limits.lower, self._limits.upper)
        if self.nan:
            target = np.full_like(target, np.nan)
        still = np.zeros_like(target)
        message = JointStates(self._limits.names, target, still, self._clock.now())
        self._bus.publish(self, "operator/target", message)


class LineProcess(Process):
    """Repeats the state of a line: the emergency stop, or what the cell or the robot permits.

    Attributes:
        on: What the line says.
    """

    def __init__(
        self, name: str, scheduler: Scheduler, trace: Trace, bus: Bus, *, on: bool
    ) -> None:
        super().__init__(name, scheduler, trace)
        self._bus = bus
        self.on = on

    def boot(self) -> None:
        """Begin to say how the line is."""
        self.every(_LINE_S, self._say)

    def switch(self, *, on: bool) -> None:
        """Change the line; said at once."""
        self.on = on
        self._say()

    def _say(self) -> None:
        if self.alive:
            self._bus.publish(self, self.name, self.on)

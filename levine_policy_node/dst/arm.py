# SPDX-License-Identifier: Apache-2.0
"""The process that drives the arm: controller manager, servos as first-order lags, encoders."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.controller import Command, ControllerChoice, ControllerManager
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.trace import Trace

CYCLE_S = 0.01
# A servo reaches 63 % of a step in this time [s]; about what small servos take.
_LAG_S = 0.03
_NOISE_RAD = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class JointStates:
    """A message on `joint_states`, `operator/target` or the controller's `reference`."""

    names: tuple[str, ...]
    positions: FloatArray
    velocities: FloatArray
    stamp_ns: StampNs
    source: str = ""


# The stock `state_publish_rate` on Humble; later releases publish with every update.
_HUMBLE_STATE_S = 0.02
# The manager says at once when a controller changes its state; where it can (Jazzy and later).
_INACTIVE = "arm_controller is inactive"

Encoder = Literal["fine", "frozen", "nan", "silent"]


class ArmProcess(Process):
    """Controls and measures once per cycle.

    Attributes:
        manager: Controller and its manager; new with each start.
        position: Where the joints are, (J,) [rad].
        blocked: Which joints do not move, mask (J,).
        encoder: What the encoders report.
        garble: Changes each message on `joint_states`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        bus: Bus,
        limits: JointLimits,
        choice: ControllerChoice,
    ) -> None:
        super().__init__("arm", scheduler, trace)
        self._bus, self._limits, self._choice = bus, limits, choice
        self._clock: RosClock | None = None
        self._rng = np.random.default_rng(0)
        joints = len(limits.names)
        self.position = np.zeros(joints)
        self._velocity = np.zeros(joints)
        self._told = ""
        self._referred_ns = StampNs(0)
        self.blocked = np.zeros(joints, dtype=bool)
        self.encoder: Encoder = "fine"
        self.garble: Callable[[JointStates], JointStates] = lambda message: message
        self._frozen = np.zeros(joints)
        self.manager = ControllerManager(choice, limits.names, nanoseconds(CYCLE_S))
        bus.subscribe("controller/command", self, self._on_command)

    def place(self, position: FloatArray, clock: RosClock, seed: str) -> None:
        """Say where the arm is before it starts, and which clock it has."""
        self.position = np.array(position)
        self._clock = clock
        self._rng = np.random.default_rng(random.Random(f"{seed}/arm").getrandbits(64))

    def boot(self) -> None:
        """Activate the controller where the arm is."""
        self.manager = ControllerManager(self._choice, self._limits.names, nanoseconds(CYCLE_S))
        self.manager.activate(self.position)
        self._told = ""
        self.every(CYCLE_S, self._cycle, first_s=float(self._rng.uniform(0.0, CYCLE_S)))
        state_s = _HUMBLE_STATE_S if self._choice.release == "humble" else CYCLE_S
        self.every(state_s, self._refer, first_s=float(self._rng.uniform(0.0, state_s)))

    def freeze_encoders(self) -> None:
        """Report the present position for ever."""
        self.encoder, self._frozen = "frozen", self.position.copy()

    def _on_command(self, message: Command) -> None:
        reason = self.manager.receive(message, self._now())
        if reason:
            self.trace.add(self.scheduler.now_ns, "rejected", reason)

    def _cycle(self) -> None:
        now_ns = self._referred_ns = self._now()
        setpoint = self.manager.update(now_ns, self.position, self._velocity)
        moving = np.where(self.blocked | ~np.isfinite(setpoint), self.position, setpoint)
        share = 1.0 - math.exp(-CYCLE_S / _LAG_S)
        before = self.position
        self.position = before + share * (moving - before)
        self._velocity = (self.position - before) / CYCLE_S
        self.trace.add(self.scheduler.now_ns, "cycle", setpoint, self.position, self._velocity)
        self._report(now_ns)
        inactive = "" if self.manager.active else _INACTIVE
        if inactive != self._told and self.manager.tells_activity:
            self._told = inactive
            self._bus.publish(self, "controller/activity", inactive)

    def _refer(self) -> None:
        """Say what the controller commands, as joint_trajectory_controller does."""
        reference = self.manager.reference
        if reference is not None:
            states = JointStates(
                self._limits.names, reference, np.zeros_like(reference), self._referred_ns
            )
            self._bus.publish(self, "controller/reference", states)

    def _report(self, now_ns: StampNs) -> None:
        if self.encoder == "silent":
            return
        position = self.position + self._rng.normal(0.0, _NOISE_RAD, len(self.position))
        states = JointStates(self._limits.names, position, self._velocity, now_ns)
        if self.encoder == "frozen":
            states = replace(
                states, positions=self._frozen, velocities=np.zeros_like(self._frozen)
            )
        elif self.encoder == "nan":
            states = replace(states, positions=np.full_like(position, np.nan))
        self._bus.publish(self, "joint_states", self.garble(states))

    def _now(self) -> StampNs:
        return StampNs(0) if self._clock is None else self._clock.now()

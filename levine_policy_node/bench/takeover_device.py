# SPDX-License-Identifier: Apache-2.0
"""Devices of people in the deterministic simulation, with the production dead-man."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np

from levine_policy_node.core.dead_man import Act, DeadMan
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.takeover import RELATIVE
from levine_policy_node.core.units import FloatArray, SteadyNs, seconds
from levine_policy_node.dst.arm import JointStates
from levine_policy_node.dst.bus import Bus
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.trace import Trace
from levine_policy_node.runtime.hand_jog import HandJog

Kind = Literal["leader", "aligned leader", "clutch", "rate", "gripper", "some joints"]
KINDS: tuple[Kind, ...] = (
    "leader",
    "aligned leader",
    "clutch",
    "rate",
    "gripper",
    "some joints",
)
TOLERANCE = 0.15
"""How near an aligned leader must be [rad]."""

PERIOD_S = 0.02
_EVENTS = {
    Act.TAKEOVER: Event.TAKEOVER,
    Act.HANDBACK: Event.HANDBACK,
    Act.PAUSE: Event.PAUSE,
    Act.STOP: Event.STOP,
}
# How far from the arm a leader is when it takes over, and how it moves then.
_AWAY, _SWING, _TURN = 0.5, 0.25, 4.0
_RATE_S = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class _Hand:
    """What one person does with one device: begin, swing (J,) [rad], turn [rad/s], since."""

    kind: Kind
    begin: FloatArray
    swing: FloatArray
    turn: FloatArray
    named: np.ndarray
    since_ns: SteadyNs


class DeviceProcess(Process):
    """A device that is pressed, moved and let go, 50 times a second.

    Attributes:
        held: Whether its dead-man is pressed.
        asked_ns: When the newest takeover was asked for.
        source: Source tag of what it says.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        bus: Bus,
        limits: JointLimits,
        grippers: np.ndarray,
        clock: RosClock,
    ) -> None:
        super().__init__("device", scheduler, trace, host="operator")
        self._bus, self._limits, self._clock = bus, limits, clock
        self._grippers = np.asarray(grippers, dtype=bool)
        self._rng = np.random.default_rng(0)
        self._hand: _Hand | None = None
        self._jog = HandJog(limits, None)
        self._rates = np.zeros(len(limits.names))
        self._acts: frozenset[Act] = frozenset()
        self.held = False
        self.asked_ns = self.source = None
        self._looks = 0
        bus.subscribe("supervisor/mode", self, self._on_mode)

    def seed(self, seed: str) -> None:
        """Draw what people do from a seed."""
        self._rng = np.random.default_rng(random.Random(f"{seed}/device").getrandbits(64))

    def boot(self) -> None:
        """Begin to be read."""
        self._mode, self._dead_man = "", DeadMan()
        self.every(PERIOD_S, self._look, first_s=float(self._rng.uniform(0.0, PERIOD_S)))

    def press(self, kind: Kind, arm: FloatArray) -> None:
        """Take the device into the hand, the arm being at `arm` (J,) [rad], and press."""
        rng, limits = self._rng, self._limits
        joints = len(arm)
        away = {"leader": _AWAY, "gripper": _AWAY, "aligned leader": 0.5 * TOLERANCE}.get(kind)
        # What the positions of a relative device are does not matter, and may be anything.
        far = 1.0 if away is None else away
        begin = arm + far * rng.uniform(-1.0, 1.0, joints)
        if away is not None:
            begin = np.clip(begin, limits.lower, limits.upper)
        named = np.ones(joints, dtype=bool)
        if kind == "gripper" and self._grippers.any():
            named = self._grippers
        elif kind == "some joints":
            named = rng.permutation(joints) < max(1, joints // 2)
        swing = _SWING * rng.uniform(-1.0, 1.0, joints)
        turn = rng.uniform(0.5, _TURN, joints)
        self._hand = _Hand(kind, begin, swing, turn, named, self.scheduler.now_ns)
        relative = kind in {"clutch", "rate", "some joints"}
        self.source = f"operator:{kind.replace(' ', '_')}{RELATIVE if relative else ''}"
        self._jog.begin(arm)
        self.held = True

    def hand_back(self) -> None:
        """Press the button that hands back."""
        self._acts |= {Act.HANDBACK}

    def hears(self, mode: Mode) -> bool:
        """Whether this is the mode that it knows of."""
        return self._mode == mode.value

    def _on_mode(self, mode: str) -> None:
        self._mode = mode

    def _look(self) -> None:
        acts, self._acts = self._acts, frozenset()
        self._dead_man, act = self._dead_man.next(held=self.held, mode=self._mode, acts=acts)
        if act is Act.TAKEOVER:
            self.asked_ns = self.scheduler.now_ns
        if self.held and self._hand is not None:
            self._say(self._hand)
        if act is not None:
            self._bus.publish(self, "operator/act", _EVENTS[act])

    def _say(self, hand: _Hand) -> None:
        wanted = hand.begin
        if hand.kind == "rate":
            self._looks += 1
            if self._looks % round(_RATE_S / PERIOD_S) == 0:
                self._rates = self._limits.velocity * self._rng.uniform(-1.0, 1.0, len(wanted))
            self._jog.by_rates(self._rates, PERIOD_S)
            wanted = self._jog.joints
        else:
            passed_s = seconds(self.scheduler.now_ns - hand.since_ns)
            wanted = hand.begin + hand.swing * np.sin(hand.turn * passed_s)
        names = tuple(n for n, it in zip(self._limits.names, hand.named, strict=True) if it)
        still = np.zeros(len(names))
        message = JointStates(
            names, wanted[hand.named], still, self._clock.now(), self.source or ""
        )
        self._bus.publish(self, "operator/target", message)

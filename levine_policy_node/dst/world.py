# SPDX-License-Identifier: Apache-2.0
"""All processes of one robot on one bus, brought into a phase and then left to a fault."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.units import FloatArray, SteadyNs, nanoseconds
from levine_policy_node.dst.arm import ArmProcess
from levine_policy_node.dst.bus import Bus, Link
from levine_policy_node.dst.cameras import CameraProcess
from levine_policy_node.dst.controller import ControllerChoice
from levine_policy_node.dst.operator import LineProcess, OperatorProcess
from levine_policy_node.dst.policy import PolicyProcess, PolicySetup
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import RosClock, Scheduler
from levine_policy_node.dst.supervisor import SupervisorProcess
from levine_policy_node.dst.trace import Trace

Phase = Literal["disarmed", "armed", "policy", "human", "stopping", "paused", "pstop"]
PHASES: tuple[Phase, ...] = (
    "disarmed",
    "armed",
    "policy",
    "human",
    "stopping",
    "paused",
    "pstop",
)

# Times of a run [s]: when each act is asked for, and the earliest injection.
_ARM_S, _ENGAGE_S, _STOP_S, INJECT_S = 0.25, 0.35, 0.75, 0.85
_INJECT_SPREAD_S = 0.4
_EPOCH_NS = 1_700_000_000_123_456_789
_START_NS = SteadyNs(100 * 1_000_000_000)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run is about.

    Attributes:
        options: Of the supervisor; says which robot it is.
        controller: What drives the arm.
        phase: What is going on when the fault comes.
        seed: Everything random is drawn from it.
        link: How messages travel; drawn from the seed if None.
    """

    options: SupervisorOptions
    controller: ControllerChoice
    phase: Phase = "policy"
    seed: int = 0
    link: Link | None = None


class World:
    """One run.

    Attributes:
        trace: What happened.
        clock: ROS clock of the supervisor and the camera.
        arm_clock: ROS clock of the controller.
        policy_clock: ROS clock of the policy.
        rng: For whoever injects the fault.
    """

    def __init__(self, setup: Setup) -> None:
        seed = f"{setup.seed}/{setup.controller}/{setup.phase}"
        self.setup = setup
        self.rng = random.Random(f"{seed}/fault")
        self.scheduler = Scheduler(seed, _START_NS)
        self.trace = Trace()
        options = replace(setup.options, sends_windows=setup.controller.kind == "joint_trajectory")
        limits = options.limits
        self.clock = RosClock(self.scheduler, _EPOCH_NS)
        self.arm_clock = RosClock(self.scheduler, _EPOCH_NS)
        self.policy_clock = RosClock(self.scheduler, _EPOCH_NS)
        link = setup.link or _drawn(random.Random(f"{seed}/network"))
        self.bus = Bus(seed, self.scheduler, link)
        # RTPS hands over the samples of one writer in their order, so stamps never go back.
        for topic in ("joint_states", "camera/image", "controller/reference"):
            self.bus.links[topic] = replace(link, reorder=False)
        # Reliable, and kept for who comes late.
        self.bus.links["supervisor/mode"] = replace(link, loss=0.0, duplicate=0.0, reorder=False)
        # Between two processes of one host nothing is lost.
        for topic in (
            "controller/command",
            "controller/activity",
            "operator/act",
            "enable",
            "estop",
            "policy/problem",
        ):
            self.bus.links[topic] = Link()
        args = (self.scheduler, self.trace, self.bus)
        self.arm = ArmProcess(*args, limits, setup.controller)
        self.supervisor = SupervisorProcess(*args, options, self.clock)
        self.policy = PolicyProcess(*args, limits, options.exempt, PolicySetup())
        self.camera = CameraProcess(*args, self.clock, self.rng.getrandbits(32))
        self.operator = OperatorProcess(*args, limits, self.clock)
        self.estop = LineProcess("estop", *args, on=False)
        self.enable = LineProcess("enable", *args, on=True)
        self.processes: tuple[Process, ...] = (
            self.arm,
            self.camera,
            self.enable,
            self.estop,
            self.operator,
            self.policy,
            self.supervisor,
        )
        pose = starting_pose(options)
        self.arm.place(pose, self.arm_clock, seed)
        self.policy.teach(pose, self.policy_clock, seed)
        self.operator.hold(pose, seed)
        self.inject_s = INJECT_S + self.rng.uniform(0.0, _INJECT_SPREAD_S)

    @property
    def now_s(self) -> float:
        """Time since the run began [s]."""
        return (int(self.scheduler.now_ns) - int(_START_NS)) / 1e9

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Do something `time_s` after the run began."""
        self.scheduler.at(int(_START_NS) + nanoseconds(time_s), action)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something `delay_s` from now."""
        self.scheduler.after(delay_s, action)

    def run(self, inject: Callable[[World], None], after_s: float) -> Trace:
        """Reach the phase, inject the fault, and go on for `after_s`."""
        for process in self.processes:
            process.start()
        self._script()
        self._until(self.inject_s)
        self.trace.add(self.scheduler.now_ns, "injected", self.supervisor.state.mode.mode.value)
        inject(self)
        self._until(self.inject_s + after_s)
        return self.trace

    def step_clocks(self, step_s: float) -> None:
        """Set the clocks of all hosts."""
        for clock in (self.clock, self.arm_clock, self.policy_clock):
            clock.step(step_s)

    def observable(self) -> None:
        """Note that the fault can be seen from now on; without it, that is the injection."""
        self.trace.add(self.scheduler.now_ns, "observable")

    def _until(self, time_s: float) -> None:
        self.scheduler.run_until(SteadyNs(int(_START_NS) + nanoseconds(time_s)))

    def _script(self) -> None:
        """Ask for what leads to the phase."""
        phase, operator = self.setup.phase, self.operator
        operator.leading = phase == "human"
        if phase != "disarmed":
            self.at(_ARM_S, lambda: operator.ask(Event.ARM))
        act = {
            "policy": Event.ENGAGE,
            "stopping": Event.ENGAGE,
            "paused": Event.ENGAGE,
            "pstop": Event.ENGAGE,
            "human": Event.TAKEOVER,
        }.get(phase)
        if act is not None:
            self.at(_ENGAGE_S, lambda: operator.ask(act))
        if phase in {"paused", "pstop"}:
            stop = Event.PAUSE if phase == "paused" else Event.STOP
            self.at(0.5, lambda: operator.ask(stop))
        elif phase == "stopping":
            self.at(self.inject_s - 0.03, lambda: operator.ask(Event.PAUSE))


def starting_pose(options: SupervisorOptions) -> FloatArray:
    """Where the arm stands at first (J,) [rad]: home, but well inside the range."""
    limits = options.limits
    quarter = 0.25 * (limits.upper - limits.lower)
    return np.clip(options.home, limits.lower + quarter, limits.upper - quarter)


EXPECTED_MODE: dict[Phase, Mode] = {
    "disarmed": Mode.DISARMED,
    "armed": Mode.ARMED,
    "policy": Mode.POLICY,
    "human": Mode.HUMAN,
    "stopping": Mode.STOPPING,
    "paused": Mode.PAUSED,
    "pstop": Mode.PSTOP,
}


def _drawn(rng: random.Random) -> Link:
    """A network as good or bad as the seed has it, but never one that breaks a watchdog."""
    return Link(
        delay_s=rng.uniform(0.0001, 0.002),
        jitter_s=rng.uniform(0.0, 0.002),
        loss=rng.choice([0.0, 0.0, 0.01]),
        duplicate=rng.choice([0.0, 0.02]),
        reorder=rng.random() < 0.3,
    )

# SPDX-License-Identifier: Apache-2.0
"""People take over and hand back at random moments; every command is judged.

A *life* is one robot with the production supervisor, the production policy's planning, a bus that
delays and loses, a controller and an arm, all in fake time (`dst/`). The policy moves the arm, a
person takes over with one device after another, leads the arm, and hands back or lets go. The
judge is the oracle of `levine bench unsafe`, which shares no code with what it judges; what the
servos were told is judged, too, cycle by cycle.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from levine_policy_node.bench.takeover_device import KINDS, TOLERANCE, DeviceProcess, Kind
from levine_policy_node.bench.unsafe import judge, options_of
from levine_policy_node.bench.unsafe_oracle import Verdict
from levine_policy_node.bench.unsafe_streams import Sent
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import Decision, SupervisorOptions
from levine_policy_node.core.takeover import TakeoverOptions
from levine_policy_node.core.units import StampNs, SteadyNs, nanoseconds
from levine_policy_node.dst.controller import ControllerChoice
from levine_policy_node.dst.judge import judge as judge_trace
from levine_policy_node.dst.world import Setup, World
from levine_policy_node.robot import load_robot

ROBOTS = ("sim_so101", "ur5e", "vx300s", "fr3")
PER_LIFE = 10
_PATIENCE_S = 3.0
_STEP_S = 0.001
_NEWS_S = 10.0
# How fast the policy comes back to its motion, as a share of the velocity limits.
_APPROACH, _ROW_S = 0.4, 0.05
_HANDS_BACK = 0.7


@dataclass
class TakeoverFigures:
    """What was found.

    Attributes:
        trials: Takeovers that were tried.
        made: By kind of device, those that were made.
        cut_ticks: Ticks after the one that heard of it until the policy was cut.
        active_ms: Time from the press until the command was the person's [ms].
        handbacks: Times the policy was given the arm back, and led it again.
        stale: Handbacks after which a chunk from before was followed.
        blocked: Handbacks where the policy's way was blocked from where the person had led.
        failed: Why a takeover or handback did not come about.
        verdict: Of everything that was sent.
        setpoints: What the servos were told that they must not be.
        seconds: Processor time it took [s].
    """

    trials: int = 0
    made: Counter[str] = field(default_factory=Counter[str])
    cut_ticks: list[int] = field(default_factory=list[int])
    active_ms: list[float] = field(default_factory=list[float])
    handbacks: int = 0
    stale: int = 0
    blocked: int = 0
    failed: list[str] = field(default_factory=list[str])
    verdict: Verdict = field(default_factory=Verdict)
    setpoints: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    @property
    def violations(self) -> int:
        """Windows, commands and setpoints that were unsafe."""
        return self.verdict.unsafe + len(self.setpoints)

    def results(self) -> dict[str, Any]:
        """Figures for JSON."""
        worst = {k: (None if np.isinf(v) and v < 0 else v) for k, v in self.verdict.worst.items()}
        return {
            "trials": self.trials,
            "made": sum(self.made.values()),
            "kinds": dict(self.made),
            "cut_ticks_max": max(self.cut_ticks, default=0),
            "human_active_ms_p50": _percentile(self.active_ms, 50),
            "human_active_ms_p99": _percentile(self.active_ms, 99),
            "human_active_ms_max": _percentile(self.active_ms, 100),
            "handbacks": self.handbacks,
            "stale_chunks_followed": self.stale,
            "handbacks_blocked": self.blocked,
            "limit_violations": self.violations,
            "commands": self.verdict.commands,
            "windows": self.verdict.windows,
            "worst_excess": worst,
            "first_violation": self.verdict.first or (self.setpoints or [""])[0],
            "failed": self.failed[:10],
            "cpu_s": round(self.seconds, 1),
        }


def _percentile(values: list[float], share: float) -> float:
    return round(float(np.percentile(values, share)), 1) if values else 0.0


def run_takeovers(
    trials: int, seed: int, on_news: Callable[[str], object] = lambda _: None
) -> TakeoverFigures:
    """Make takeovers.

    Args:
        trials: How many.
        seed: Of all of them; any life can be run again from it and its number.
        on_news: Told every few seconds how far it is.
    """
    figures = TakeoverFigures()
    began_s, told_s = time.process_time(), time.monotonic()
    for number in range(-(-trials // PER_LIFE)):
        _Life(number, seed, figures).run(min(PER_LIFE, trials - number * PER_LIFE))
        figures.seconds = time.process_time() - began_s
        if time.monotonic() - told_s > _NEWS_S:
            told_s = time.monotonic()
            on_news(f"{figures.trials} takeovers, violations {figures.violations}")
    return figures


class _Life:
    """One world, and the person in it."""

    def __init__(self, number: int, seed: int, figures: TakeoverFigures) -> None:
        self._figures = figures
        robot = load_robot(ROBOTS[number % len(ROBOTS)])
        windows = number // len(ROBOTS) % 2 == 0
        self._rng = np.random.default_rng([seed, number])
        self._insists = bool(self._rng.random() < 0.5)
        takeover = TakeoverOptions(tolerance=TOLERANCE if self._insists else 0.0)
        options = replace(options_of(robot, windows=windows), takeover=takeover)
        self._options: SupervisorOptions = options
        kind = "joint_trajectory" if windows else "forward_command"
        self._what = f"{robot.name}, {kind}, life {number} of seed {seed}"
        self._world = World(Setup(options, ControllerChoice(kind), "policy", seed * 1000 + number))
        world = self._world
        self._device = DeviceProcess(
            world.scheduler, world.trace, world.bus, options.limits, options.exempt, world.clock
        )
        self._device.seed(self._what)
        world.processes = (*world.processes, self._device)
        self._sent: list[Sent] = []
        self._now: Decision | None = None
        world.supervisor.watch = self._on_tick
        world.policy.rows = self._from_here
        self._cut_ns: int | None = None

    def run(self, trials: int) -> None:
        """Take over and hand back several times, then judge."""
        self._world.run(lambda _: None, 0.5)
        for _ in range(trials):
            self._figures.trials += 1
            problem = self._trial()
            if problem:
                self._figures.failed.append(f"{self._what}: {problem}")
                return
        self._figures.verdict.merge(judge(self._sent, self._options, self._what))
        # Single positions come at times that the network shifts; windows say their own.
        smooth = self._options.sends_windows
        found = judge_trace(self._world.trace, self._options.limits, rests=False, smooth=smooth)
        self._figures.setpoints += [f"{self._what}: {text}" for text in found.problems]

    def _trial(self) -> str:
        """One takeover from the policy and back; returns what did not come about."""
        kind = self._kind()
        device = self._device
        self._spend(float(self._rng.uniform(0.1, 0.8)))
        if self._mode is not Mode.POLICY:
            return f"{self._mode.value} before a takeover: {self._cause()}"
        pressed_ns = int(self._world.scheduler.now_ns)
        device.press(kind, self._commanded())
        if not self._until(lambda: self._mode is Mode.HUMAN):
            return f"no takeover by {kind}: {self._cause()}"
        if not self._until(self._person_commands):
            return f"{kind} took over and commands nothing"
        self._measure(pressed_ns, kind)
        self._spend(float(self._rng.uniform(0.1, 0.9)))
        if self._mode is not Mode.HUMAN:
            return f"{kind} lost the arm: {self._cause()}"
        return self._back()

    def _back(self) -> str:
        """Hand back, or let go and let the policy resume from the pause."""
        handed = self._rng.random() < _HANDS_BACK
        if handed:
            self._device.hand_back()
            # Who lets go before the device knows of the handback pauses the arm, as they should.
            heard = self._device.hears
            if not self._until(lambda: self._mode is Mode.POLICY and heard(Mode.POLICY)):
                return f"no handback: {self._cause()}"
            self._device.held = False
        else:
            self._device.held = False
            if not self._until(lambda: self._mode is Mode.PAUSED):
                return f"let go, and no pause: {self._cause()}"
            self._world.operator.ask(Event.RESUME)
        if not self._until(lambda: self._mode is Mode.POLICY and bool(self._policy_tag())):
            return f"the policy does not lead again: {self._cause()}"
        self._figures.handbacks += handed
        self._figures.stale += handed and self._follows_what_was_before()
        return ""

    def _kind(self) -> Kind:
        """Any device; a leader that must be near only where the supervisor insists on it."""
        left_out = {"leader", "gripper"} if self._insists else {"aligned leader"}
        kinds: list[Kind] = [kind for kind in KINDS if kind not in left_out]
        return kinds[int(self._rng.integers(len(kinds)))]

    def _from_here(self, rows: np.ndarray) -> np.ndarray:
        """A policy that sees where the arm is: it gets to its motion no faster than it may."""
        here = self._world.arm.position
        reach = _APPROACH * self._options.limits.velocity * _ROW_S
        most = reach * np.arange(1.0, len(rows) + 1.0)[:, None]
        return here + np.clip(rows - here, -most, most)

    # What is seen.

    @property
    def _mode(self) -> Mode:
        return self._world.supervisor.mode

    def _commanded(self) -> np.ndarray:
        now = self._now
        if now is None or now.command is None:
            return self._world.arm.position
        return now.command.position

    def _policy_tag(self) -> str:
        """Whose chunk is commanded now, or "" if it is no policy's."""
        source = "" if self._now is None else self._now.source
        return source if source.startswith("policy:") else ""

    def _follows_what_was_before(self) -> bool:
        """Whether the inference of the chunk that leads was begun before the handback."""
        state = self._world.supervisor.state
        if state.reference is None:
            return False
        start_ns = StampNs(int(state.reference.start_ns) + state.offset_ns)
        return self._world.policy.asked_ns[start_ns] < state.since_ns

    def _person_commands(self) -> bool:
        """The command is the person's, or stands, as they do."""
        now = self._now
        return now is not None and now.source in {self._device.source, "hold"}

    def _on_tick(self, decision: Decision) -> None:
        world = self._world
        self._now = decision
        self._sent.append(Sent(int(world.scheduler.now_ns), decision))
        if decision.mode.mode is not Mode.HUMAN:
            self._cut_ns = None
            return
        plan, options = world.supervisor.state.plan, world.supervisor.options
        if self._cut_ns is not None or plan is None:
            return
        # What a controller of windows was given before is not changed any more.
        lead_s = options.lead_s + options.tick_s if options.sends_windows else 0.0
        later_ns = SteadyNs(int(world.scheduler.now_ns) + nanoseconds(lead_s))
        sent = decision.window is not None or not options.sends_windows
        if sent and not plan.source(later_ns).startswith("policy:"):
            self._cut_ns = int(world.scheduler.now_ns)

    def _measure(self, pressed_ns: int, kind: Kind) -> None:
        figures, tick_ns = self._figures, nanoseconds(self._options.tick_s)
        granted_ns = next(
            sent.now_ns
            for sent in reversed(self._sent)
            if any(r.accepted and r.message == "HUMAN" for r in sent.decision.replies)
        )
        figures.made[kind] += 1
        figures.cut_ticks.append(round(((self._cut_ns or 0) - granted_ns) / tick_ns))
        figures.active_ms.append((int(self._world.scheduler.now_ns) - pressed_ns) / 1e6)

    def _cause(self) -> str:
        texts = [r.values[1] for r in self._world.trace.of("fault", "reply") if r.values[1]]
        return str(texts[-1]) if texts else "no reason was told"

    # Time.

    def _spend(self, duration_s: float) -> None:
        scheduler = self._world.scheduler
        scheduler.run_until(SteadyNs(int(scheduler.now_ns) + nanoseconds(duration_s)))

    def _until(self, done: Callable[[], bool]) -> bool:
        for _ in range(round(_PATIENCE_S / _STEP_S)):
            if done():
                return True
            self._spend(_STEP_S)
        return done()

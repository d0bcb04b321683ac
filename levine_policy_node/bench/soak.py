# SPDX-License-Identifier: Apache-2.0
"""Long runs under load: false stops counted, lateness, and whether anything grows.

The whole graph drives the simulated arm, episode after episode, first by itself and then while
other programs take both processors. Figures of every process come from /proc, once a second; what
they do after the warm-up is fitted with a line. A stop while the machine itself was held up is
counted apart, as is what only the simulated arm brought about: neither says anything about the
runtime.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.bench.calm_time import CalmTime, Counted
from levine_policy_node.bench.machine_probe import HELD_UP_S, MachineProbe
from levine_policy_node.bench.process_growth import Growth, ProcessWatch
from levine_policy_node.bench.rollouts import require_alive
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.parentage import as_parent
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros.rollout import Rollout
from levine_policy_node.sim.tasks import PickPlaceTask

LATE_P50_MS, LATE_P99_MS, LATE_P99_SATURATED_MS = 2.0, 10.0, 20.0
"""How late commands may be: half of them, all but a hundredth, and that with no core left."""

_BURN = """
from levine_policy_node.parentage import end_with_parent
end_with_parent()
while True:
    pass
"""
_WARM_UP_SHARE = 1.0 / 3.0
_WARM_UP_MAX_S = 600.0
_IDLE_SHARE = 0.1
_IDLE_MAX_S = 90.0
_HAZARD = 37
# What a simulated arm that did not get its processor brings about; a real one has its own.
_OF_THE_ARM = ("COMMANDS_REFUSED", "FOREIGN_WRITER", "JOINT_STATES", "TRACKING")


@dataclass(frozen=True, slots=True)
class Lateness:
    """From the time that a command is for until it is handed to the middleware.

    Attributes:
        p50_ms: Median of the medians of all minutes [ms].
        p99_ms: Median of their 99th percentiles [ms].
        worst_p99_ms: Largest of these [ms].
        chunk_to_command_ms: From a published chunk to the first command made with it, median [ms].
    """

    p50_ms: float
    p99_ms: float
    worst_p99_ms: float
    chunk_to_command_ms: float


@dataclass(frozen=True, slots=True)
class Soak:
    """What one run measured.

    Attributes:
        minutes: How long it was saturated [min].
        warm_up_s: What was left out at its beginning [s].
        episodes: Episodes that were run.
        stops: Why a watchdog stopped the arm, each time.
        stops_held_up: The same, in episodes in which the machine itself was held up, or, where the
            arm is the cause, the simulated arm.
        missed_ticks: Ticks of the supervisor that came too late.
        violations: Commands beyond a limit, as the simulated arm counted them.
        first_violations: The first of them.
        idle: How late commands were before the load.
        saturated: The same under load.
        growths: Of every process.
    """

    minutes: float
    warm_up_s: float
    episodes: int
    stops: tuple[str, ...]
    stops_held_up: tuple[str, ...]
    missed_ticks: Counted
    violations: Counted
    first_violations: tuple[Any, ...]
    idle: Lateness
    saturated: Lateness
    growths: tuple[Growth, ...]

    @property
    def punctual(self) -> bool:
        """Whether commands come in time."""
        half = max(self.idle.p50_ms, self.saturated.p50_ms) <= LATE_P50_MS
        most = self.saturated.p99_ms <= LATE_P99_SATURATED_MS
        return half and most and self.idle.p99_ms <= LATE_P99_MS

    @property
    def passed(self) -> bool:
        """Whether every bar is met."""
        grew = not all(found.within for found in self.growths)
        return not (self.stops or self.violations.calm or grew) and self.punctual

    def results(self) -> dict[str, Any]:
        """Machine-readable results; `levine faults --sil` takes the case."""
        case = {
            "name": "soak",
            "rows": [_HAZARD],
            "injection": f"{self.minutes:g} min with every processor taken",
            "trials": 1,
            "failed": int(not self.passed),
            "reaction_ms_p99": None,
            "reaction_ms_max": None,
            "limit_ms": None,
        }
        return {
            **asdict(self),
            "false_stops": len(self.stops),
            "passed": self.passed,
            "cases": [case],
        }


def run_soak(
    minutes: float,
    *,
    robot: str,
    policy: str,
    on_news: Callable[[str], None],
) -> Soak:
    """Run episodes for so long with every processor saturated, and measure.

    Raises:
        ConfigError: If robot and policy do not fit.
        RolloutError: If a process dies or a step is refused.
    """
    with tempfile.TemporaryDirectory(prefix="levine_soak_") as folder, MachineProbe() as probe:
        options = GraphOptions(
            robot=robot,
            policy=policy,
            recordings=Path(folder) / "recordings",
            simulate=True,
            log_level="error",
        )
        graph = build_graph(options)
        with ProcessGroup(graph, options, log_directory=Path(folder) / "logs") as group:
            watch = ProcessWatch({p.executable: group.pid(p.executable) for p in graph})
            rollout = _WatchedRollout(watch)
            run = _Run(rollout, watch, probe, partial(require_alive, group), on_news)
            try:
                return run.soaked(minutes)
            finally:
                rollout.close()


class _WatchedRollout(Rollout):
    """Samples the processes whenever it waits for something."""

    def __init__(self, watch: ProcessWatch) -> None:
        self._watch = watch
        super().__init__()

    def spin_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """As its parent does, and samples meanwhile."""
        return super().spin_until(lambda: self._watch.look() or done(), timeout_s)


class _Run:
    """Episodes, and what is noted of them."""

    def __init__(
        self,
        rollout: _WatchedRollout,
        watch: ProcessWatch,
        probe: MachineProbe,
        alive: Callable[[], None],
        on_news: Callable[[str], None],
    ) -> None:
        self._rollout, self._watch, self._probe = rollout, watch, probe
        self._alive, self._on_news = alive, on_news
        self._calm = CalmTime(rollout.node, probe.late_s)
        self._arm = CalmTime(rollout.node, lambda _: 0.0)
        self._stops: list[str] = []
        self._stops_held_up: list[str] = []
        self._episodes = 0

    def soaked(self, minutes: float) -> Soak:
        """The whole run."""
        self._rollout.wait_ready(self._alive)
        idle = self._episodes_for(min(_IDLE_MAX_S, _IDLE_SHARE * minutes * 60.0))
        self._on_news(f"idle: {idle.p50_ms:.2f} ms late (p50), {idle.p99_ms:.2f} ms (p99)")
        burners = _burners()
        begun_s = time.monotonic()
        try:
            saturated = self._episodes_for(minutes * 60.0)
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()
        took_s = time.monotonic() - begun_s
        warm_up_s = min(_WARM_UP_MAX_S, took_s * _WARM_UP_SHARE)
        span = [(0.0, time.monotonic())]
        report = self._rollout.report()
        return Soak(
            minutes=round(took_s / 60.0, 2),
            warm_up_s=round(warm_up_s, 1),
            episodes=self._episodes,
            stops=tuple(self._stops),
            stops_held_up=tuple(self._stops_held_up),
            missed_ticks=self._calm.missed_ticks(span),
            violations=self._calm.limit_violations(span),
            first_violations=tuple(report["first_violations"]),
            idle=idle,
            saturated=saturated,
            growths=self._watch.growths(begun_s + warm_up_s, begun_s + took_s),
        )

    def _episodes_for(self, duration_s: float) -> Lateness:
        """Run whole episodes for at least so long [s]."""
        begun_s, told_s, told = time.monotonic(), 0.0, list[dict[str, str]]()
        while time.monotonic() - begun_s < duration_s:
            self._episode(begun_s)
            if time.monotonic() - told_s >= 60.0:
                told_s = time.monotonic()
                told.append(self._told())
        return _lateness([*told, self._told()])

    def _episode(self, begun_s: float) -> None:
        since_s = time.monotonic()
        stops = self._rollout.run_episode(self._episodes, PickPlaceTask.horizon_s).stops
        self._alive()
        self._episodes += 1
        held_up = self._probe.late_s(since_s) > HELD_UP_S
        arm_late = not self._arm.was_calm((since_s, time.monotonic()))
        for stop in stops:
            apart = held_up or (arm_late and stop.startswith(_OF_THE_ARM))
            (self._stops_held_up if apart else self._stops).append(stop)
        said = f", stopped: {'; '.join(stops)}" if stops else ""
        said += " (machine held up)" if held_up else ""
        said += " (simulated arm late)" if arm_late else ""
        minutes = (time.monotonic() - begun_s) / 60.0
        self._on_news(f"{minutes:.1f} min, {self._episodes} episodes{said}")

    def _told(self) -> dict[str, str]:
        """The supervisor's newest diagnostics; they are of the last minute."""
        self._rollout.diagnostics.clear()
        self._rollout.spin_until(lambda: "safety_supervisor" in self._rollout.diagnostics, 5.0)
        return self._rollout.diagnostics["safety_supervisor"]


def _lateness(told: list[dict[str, str]]) -> Lateness:
    late = "tick_lateness_ms_"
    p50, p99, chunk = (
        np.array([float(values[key]) for values in told])
        for key in (f"{late}p50", f"{late}p99", "chunk_to_command_ms_p50")
    )
    return Lateness(
        round(float(np.median(p50)), 3),
        round(float(np.median(p99)), 3),
        round(float(p99.max()), 3),
        round(float(np.median(chunk)), 2),
    )


def _burners() -> list[subprocess.Popen[bytes]]:
    """One program per processor that takes all of it, at normal priority."""
    environment = {**os.environ, **as_parent()}
    count = len(os.sched_getaffinity(0))
    return [subprocess.Popen([sys.executable, "-c", _BURN], env=environment) for _ in range(count)]

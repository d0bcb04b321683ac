# SPDX-License-Identifier: Apache-2.0
"""What a swap costs the arm: policies swapped at random moments in the running graph.

Half of the swaps happen while the policy moves the arm, half while it stands. Between them bundles
are offered that must be refused; whichever policy ran before must go on.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from std_msgs.msg import String

from levine_policy_node.bench.bad_bundles import BAD_BUNDLES, scaled
from levine_policy_node.bench.calm_time import CalmTime
from levine_policy_node.bench.machine_probe import MachineProbe
from levine_policy_node.bench.rollouts import require_alive
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros import qos
from levine_policy_node.ros.rollout import READY_TIMEOUT_S, Rollout, RolloutError
from levine_policy_node.ros.swap_client import SwapClient, SwapRefusedError
from levine_policy_node.runtime.bundle import load_bundle

_SWAPS_PER_SCENE = 6
_WAIT_S = 30.0
_TOLD_S = 5.0
# Of a policy that was trained a little further.
_FACTORS = (0.98, 1.0, 1.02)


@dataclass(slots=True)
class SwapFigures:
    """What a run measured.

    Attributes:
        swaps: Swaps that were made.
        in_motion: How many of them while the arm moved.
        failed: Swaps that were asked for and not made.
        missed_ticks: Ticks of the supervisor that came too late.
        limit_violations: Of the commands, as the simulated arm counted them.
        first_violations: The first of them.
        calm: Swaps during which nothing was held up: neither a core of the machine nor the
            simulated arm. What is counted above is of the seconds in which nothing was.
        calm_in_motion: How many of them while the arm moved.
        held_up_share: Share of the seconds in which something was held up. What follows is of
            these:
        missed_ticks_held_up: Ticks that came too late.
        limit_violations_held_up: Violations.
        stops_held_up: Why a watchdog stopped the arm.
        gap_ms_max: Longest time between two commands while there were any [ms].
        took_s: From request to outcome of each swap [s].
        refused: Bad bundles that were refused.
        wrongly_accepted: Bad bundles that took over.
        refused_kinds: Refusals by kind.
        accepted_kinds: Of those that were not refused.
        stops: Why a watchdog stopped the arm, each time that nothing was held up.
        memory_mb: Of the runtime after each swap [MB].
        policies_max: Most policies that were in memory after a swap.
    """

    swaps: int = 0
    in_motion: int = 0
    failed: int = 0
    missed_ticks: int = 0
    limit_violations: int = 0
    first_violations: list[dict[str, Any]] = field(default_factory=list)
    calm: int = 0
    calm_in_motion: int = 0
    held_up_share: float = 0.0
    missed_ticks_held_up: int = 0
    limit_violations_held_up: int = 0
    stops_held_up: list[str] = field(default_factory=list)
    gap_ms_max: float = 0.0
    took_s: list[float] = field(default_factory=list)
    refused: int = 0
    wrongly_accepted: int = 0
    refused_kinds: Counter[str] = field(default_factory=Counter)
    accepted_kinds: Counter[str] = field(default_factory=Counter)
    stops: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    policies_max: int = 0

    def results(self) -> dict[str, Any]:
        """Machine-readable results."""
        return {
            "swaps": self.swaps,
            "in_motion": self.in_motion,
            "failed": self.failed,
            "missed_ticks": self.missed_ticks,
            "limit_violations": self.limit_violations,
            "first_violations": self.first_violations,
            "calm": self.calm,
            "calm_in_motion": self.calm_in_motion,
            "held_up_share": round(self.held_up_share, 3),
            "missed_ticks_held_up": self.missed_ticks_held_up,
            "limit_violations_held_up": self.limit_violations_held_up,
            "stops_held_up": self.stops_held_up,
            "gap_ms_max": round(self.gap_ms_max, 3),
            "swap_s_p50": round(float(np.median(self.took_s)), 3) if self.took_s else None,
            "swap_s_max": round(max(self.took_s), 3) if self.took_s else None,
            "refused": self.refused,
            "wrongly_accepted": self.wrongly_accepted,
            "refused_kinds": dict(self.refused_kinds),
            "wrongly_accepted_kinds": dict(self.accepted_kinds),
            "stops": self.stops,
            "memory_mb_first": self.memory_mb[0] if self.memory_mb else None,
            "memory_mb_last": self.memory_mb[-1] if self.memory_mb else None,
            "memory_mb_max": max(self.memory_mb, default=None),
            "policies_max": self.policies_max,
        }


def run_swaps(
    swaps: int,
    bad: int,
    seed: int,
    *,
    robot: str,
    policy: str,
    on_news: Callable[[str], None],
) -> SwapFigures:
    """Make `swaps` swaps and offer `bad` bad bundles, spread over the run.

    Raises:
        ConfigError: If robot and policy do not fit.
        RolloutError: If a process dies or a step is refused.
    """
    with tempfile.TemporaryDirectory(prefix="levine_bench_") as folder:
        options = GraphOptions(
            robot=robot, policy=policy, recorder=False, simulate=True, log_level="warn"
        )
        graph = build_graph(options)
        logs = Path(folder) / "logs"
        with MachineProbe() as probe, ProcessGroup(graph, options, log_directory=logs) as group:
            rollout = Rollout(recorder=False)
            alive = partial(require_alive, group)
            try:
                rollout.wait_ready(alive)
                tools = _Tools(rollout, probe, Path(folder), random.Random(seed))
                return _Run(tools, load_bundle(policy).path).measure(swaps, bad, alive, on_news)
            finally:
                rollout.close()


@dataclass(frozen=True, slots=True)
class _Tools:
    """What a run works with."""

    rollout: Rollout
    probe: MachineProbe
    folder: Path
    rng: random.Random


@dataclass(frozen=True, slots=True)
class _Swap:
    """One that was made, on the monotonic clock."""

    begin_s: float
    end_s: float
    in_motion: bool


class _Run:
    """One run on a graph that is ready."""

    def __init__(self, tools: _Tools, good: Path) -> None:
        self._rollout = tools.rollout
        self._client = SwapClient(tools.rollout)
        self._calm = CalmTime(tools.rollout.node, tools.probe.late_s)
        self._swaps: list[_Swap] = []
        self._stops: list[tuple[float, str]] = []
        self._pausing, self._stopped_s = False, 0.0
        tools.rollout.node.create_subscription(String, "supervisor/mode", self._on_mode, qos.MODE)
        self._good = good
        self._folder = tools.folder
        self._rng = tools.rng
        self._count = 0
        self._figures = SwapFigures()

    def measure(
        self,
        swaps: int,
        bad: int,
        alive: Callable[[], None],
        on_news: Callable[[str], None],
    ) -> SwapFigures:
        """All swaps, six in each scene, and every bad bundle."""
        figures, rollout = self._figures, self._rollout
        self._client.find(READY_TIMEOUT_S)
        self._must("swap_in_motion", value=True)
        for number in range(swaps):
            in_scene = number % _SWAPS_PER_SCENE
            if in_scene == 0:
                rollout.reset_scene(number)
                rollout.start_policy()
                rollout.cause, self._pausing = "", False
            moving = in_scene < _SWAPS_PER_SCENE // 2
            self._bring(moving=moving)
            rollout.spin_for(self._rng.uniform(0.0, 1.0))
            self._swap(moving=moving)
            for _ in range(number * bad // swaps, (number + 1) * bad // swaps):
                self._offer(list(BAD_BUNDLES)[self._count % len(BAD_BUNDLES)])
            alive()
            if in_scene == _SWAPS_PER_SCENE - 1 or number == swaps - 1:
                rollout.finish(success=False)
                on_news(
                    f"{figures.swaps} swaps, {figures.refused} refused, "
                    f"{figures.wrongly_accepted} wrongly accepted"
                )
        self._attribute(time.monotonic())
        monitor = rollout.report()
        figures.first_violations = monitor["first_violations"]
        figures.gap_ms_max = float(monitor["command_gap_ms"]["max"])
        return figures

    def _bring(self, *, moving: bool) -> None:
        """To POLICY, or to a stand."""
        rollout = self._rollout
        if moving:
            if rollout.mode != "POLICY" and rollout.cause:
                self._stops.append((self._stopped_s, rollout.cause))
            rollout.start_policy()
            rollout.cause = ""
            self._pausing = False
        elif rollout.mode == "POLICY":
            self._pausing = True
            rollout.call("supervisor/pause")
            if not rollout.spin_until(lambda: rollout.mode not in {"POLICY", "STOPPING"}, 5.0):
                raise RolloutError(f"the arm did not come to rest; mode is {rollout.mode}")

    def _swap(self, *, moving: bool) -> None:
        figures = self._figures
        self._count += 1
        folder = self._folder / f"good{self._count}"
        scaled(self._good, folder, self._rng.choice(_FACTORS))
        # The request may take its time: it is in motion if it began so and nothing stopped it.
        begin_s = time.monotonic()
        number = self._client.request(str(folder))
        state = self._client.wait(number, _WAIT_S)
        shutil.rmtree(folder)
        if state["state"] != "done":
            figures.failed += 1
            return
        figures.swaps += 1
        in_motion = moving and self._rollout.mode == "POLICY"
        self._swaps.append(_Swap(begin_s, time.monotonic(), in_motion))
        figures.memory_mb.append(float(state["memory_after_mb"]))
        figures.policies_max = max(figures.policies_max, int(state["policies"]))

    def _offer(self, kind: str) -> None:
        """Offer a bad bundle; it must be refused, and the policy before it stay."""
        self._count += 1
        folder = self._folder / f"bad{self._count}"
        BAD_BUNDLES[kind](self._good, folder, self._rng)
        try:
            number = self._client.request(str(folder))
            refused = self._client.wait(number, _WAIT_S)["state"] == "refused"
        except SwapRefusedError:
            refused = True
        shutil.rmtree(folder)
        if refused:
            self._figures.refused += 1
            self._figures.refused_kinds[kind] += 1
        else:
            self._figures.wrongly_accepted += 1
            self._figures.accepted_kinds[kind] += 1

    def _on_mode(self, message: String) -> None:
        if message.data == "STOPPING" and not self._pausing:
            self._stopped_s = time.monotonic()

    def _must(self, name: str, *, value: bool) -> None:
        refusal = self._client.set(name, value)
        if refusal:
            raise RolloutError(f"{name} was refused: {refusal}")

    def _attribute(self, until_s: float) -> None:
        """Wait for the last counters, and say what was counted when."""
        figures, calm = self._figures, self._calm
        if not self._rollout.spin_until(lambda: calm.told_s > until_s, _TOLD_S):
            raise RolloutError("the supervisor or the arm tells no diagnostics")
        figures.in_motion = sum(swap.in_motion for swap in self._swaps)
        figures.took_s = [swap.end_s - swap.begin_s for swap in self._swaps]
        undisturbed = [s for s in self._swaps if calm.was_calm(s.begin_s, s.end_s)]
        figures.calm = len(undisturbed)
        figures.calm_in_motion = sum(swap.in_motion for swap in undisturbed)
        figures.held_up_share = calm.held_up_share
        figures.missed_ticks = calm.missed_ticks.calm
        figures.missed_ticks_held_up = calm.missed_ticks.held_up
        figures.limit_violations = calm.limit_violations.calm
        figures.limit_violations_held_up = calm.limit_violations.held_up
        for at_s, cause in self._stops:
            where = figures.stops if calm.was_calm(at_s, at_s) else figures.stops_held_up
            where.append(cause)

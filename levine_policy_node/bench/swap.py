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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from std_msgs.msg import String

from levine_policy_node.bench.bad_bundles import BAD_BUNDLES, scaled
from levine_policy_node.bench.calm_time import CalmTime, Span
from levine_policy_node.bench.machine_probe import MachineProbe
from levine_policy_node.bench.rollouts import require_alive
from levine_policy_node.bench.swap_figures import SwapFigures
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros import qos
from levine_policy_node.ros.rollout import READY_TIMEOUT_S, Rollout, RolloutError
from levine_policy_node.ros.swap_client import SwapClient, SwapRefusedError
from levine_policy_node.runtime.bundle import load_bundle

_SWAPS_PER_SCENE = 6
_WAIT_S = 30.0
_TOLD_S = 5.0
# A virtual machine may be held up for minutes.
_PATIENCE_S = 120.0
# What a swap does to the arm shows within that.
_AFTER_S = 0.5
# Of a policy that was trained a little further.
_FACTORS = (0.98, 1.0, 1.02)


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

    @property
    def span(self) -> Span:
        """With what it does to the arm."""
        return self.begin_s, self.end_s + _AFTER_S


class _Run:
    """One run on a graph that is ready."""

    def __init__(self, tools: _Tools, good: Path) -> None:
        self._rollout = tools.rollout
        self._client = SwapClient(tools.rollout)
        self._calm = CalmTime(tools.rollout.node, tools.probe.late_s)
        self._swaps: list[_Swap] = []
        self._offers: list[Span] = []
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
            self._wait_calm()
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

    def _wait_calm(self) -> None:
        """Until a second has been told of that began after the arm was brought here."""
        begin_s = time.monotonic()
        self._rollout.spin_until(lambda: self._calm.began_s > begin_s, _TOLD_S)
        self._rollout.spin_until(self._calm.is_calm, _PATIENCE_S)

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
        begin_s = time.monotonic()
        try:
            number = self._client.request(str(folder))
            refused = self._client.wait(number, _WAIT_S)["state"] == "refused"
        except SwapRefusedError:
            refused = True
        self._offers.append((begin_s, time.monotonic()))
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
        undisturbed = [swap for swap in self._swaps if calm.was_calm(swap.span)]
        figures.calm = len(undisturbed)
        figures.calm_in_motion = sum(swap.in_motion for swap in undisturbed)
        spans = [swap.span for swap in self._swaps] + self._offers
        figures.held_up_share = calm.held_up_share(spans)
        missed, violations = calm.missed_ticks(spans), calm.limit_violations(spans)
        figures.missed_ticks, figures.missed_ticks_held_up = missed.calm, missed.held_up
        figures.limit_violations = violations.calm
        figures.limit_violations_held_up = violations.held_up
        for at_s, cause in self._stops:
            where = figures.stops if calm.was_calm((at_s, at_s)) else figures.stops_held_up
            where.append(cause)

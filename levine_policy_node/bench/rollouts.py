# SPDX-License-Identifier: Apache-2.0
"""Start the whole graph on the simulated arm, run episodes, and sum up what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from levine_policy_node.bench.machine_probe import HELD_UP_S, MachineProbe
from levine_policy_node.core.success_rate import EpisodeResult, summarise
from levine_policy_node.errors import LevineError
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros.rollout import Rollout, RolloutError
from levine_policy_node.sim.tasks import TASKS

OnEpisode = Callable[[int, EpisodeResult], None]
OnReady = Callable[[Rollout], None]

_ATTEMPTS = 5
_CALM_S = 1.0
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run of episodes measured.

    Attributes:
        episodes: One result per episode.
        monitor: The simulated arm's own report on the commands it received.
        diagnostics: Last diagnostics per node.
        repeated: Episodes that were run again because the machine was held up.
        violations_apart: Of limits, in those.
    """

    episodes: tuple[EpisodeResult, ...]
    monitor: Mapping[str, Any]
    diagnostics: Mapping[str, Mapping[str, str]]
    repeated: int = 0
    violations_apart: int = 0

    def results(self) -> dict[str, Any]:
        """Machine-readable results; a figure that was not measured is None, never 0."""
        return {
            **summarise(self.episodes),
            "limit_violations": int(self.monitor["total_violations"]) - self.violations_apart,
            "repeated": self.repeated,
            "monitor": dict(self.monitor),
            "missed_ticks": self._figure("safety_supervisor", "missed_ticks"),
            "ticks": self._figure("safety_supervisor", "ticks"),
            "command_jitter_ms_p99": self._figure("safety_supervisor", "command_jitter_ms_p99"),
            "command_gap_ms_max": self._figure("safety_supervisor", "command_gap_ms_max"),
            "inference_ms_p50": self._figure("policy_executor", "inference_ms_p50"),
            "observation_age_ms_p50": self._figure("policy_executor", "observation_age_ms_p50"),
        }

    def _figure(self, node: str, key: str) -> float | None:
        text = self.diagnostics.get(node, {}).get(key)
        return float(text) if text not in (None, "", "nan") else None


def require_alive(group: ProcessGroup) -> None:
    """Say so if an essential process has died.

    Raises:
        RolloutError: Which one did, and its last words.
    """
    obituary = group.obituary()
    if obituary:
        raise RolloutError(obituary)


def run_rollouts(
    options: GraphOptions,
    seeds: range,
    *,
    log_directory: Path,
    on_episode: OnEpisode,
    on_ready: OnReady | None = None,
    probe: MachineProbe | None = None,
) -> Summary:
    """Run one episode per seed through real processes and real DDS.

    Args:
        options: Of the graph.
        seeds: One episode each.
        log_directory: For what the processes say.
        on_episode: Called after each.
        on_ready: Called before the first.
        probe: Watches the machine, so that an episode in which it was held up is run again.

    Raises:
        ConfigError: If robot and policy do not fit; nothing is started.
        RolloutError: If a process dies or a step is refused; the message holds its last words.
    """
    graph = build_graph(options)
    results: list[EpisodeResult] = []
    with ProcessGroup(graph, options, log_directory=log_directory) as group:
        rollout = Rollout(options.namespace, recorder=options.recorder)
        alive = partial(require_alive, group)
        try:
            rollout.wait_ready(alive)
            if on_ready is not None:
                on_ready(rollout)
            episodes = EpisodeRuns(rollout, TASKS[options.task].horizon_s, probe)
            for index, seed in enumerate(seeds):
                result = episodes.run(seed)
                alive()
                results.append(result)
                on_episode(index, result)
            monitor = rollout.report()
            before = dict(rollout.diagnostics)
            rollout.diagnostics.clear()
            rollout.spin_until(lambda: len(rollout.diagnostics) >= len(before), 3.0)
            diagnostics = {**before, **rollout.diagnostics}
        except LevineError:
            alive()  # A dead process explains more than the call that failed because of it.
            raise
        finally:
            rollout.close()
    return Summary(
        tuple(results), monitor, diagnostics, episodes.repeated, episodes.violations_apart
    )


class EpisodeRuns:
    """Runs episodes; again, a few times at most, where the machine was held up in one.

    Attributes:
        repeated: Episodes that were run again.
        violations_apart: Of limits, in those.
    """

    def __init__(self, rollout: Rollout, horizon_s: float, probe: MachineProbe | None) -> None:
        self._rollout = rollout
        self._horizon_s = horizon_s
        self._probe = probe
        self.repeated = 0
        self.violations_apart = 0

    def run(self, seed: int) -> EpisodeResult:
        """Run the episode of a seed; the last attempt counts, whatever happens in it."""
        if self._probe is None:
            return self._rollout.run_episode(seed, self._horizon_s)
        for _ in range(_ATTEMPTS - 1):
            self._probe.wait_calm(_CALM_S, _PATIENCE_S)
            before, begin_s = self._violations(), time.monotonic()
            result = self._rollout.run_episode(seed, self._horizon_s)
            if self._probe.late_s(begin_s) <= HELD_UP_S:
                return result
            self.repeated += 1
            self.violations_apart += self._violations() - before
        return self._rollout.run_episode(seed, self._horizon_s)

    def _violations(self) -> int:
        return int(self._rollout.report()["total_violations"])

# SPDX-License-Identifier: Apache-2.0
"""Start the whole graph on the simulated arm, run episodes, and sum up what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levine_policy_node.core.success_rate import EpisodeResult, summarise
from levine_policy_node.errors import LevineError
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros.rollout import Rollout, RolloutError
from levine_policy_node.sim.tasks import TASKS

OnEpisode = Callable[[int, EpisodeResult], None]
OnReady = Callable[[Rollout], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run of episodes measured.

    Attributes:
        episodes: One result per episode.
        monitor: The simulated arm's own report on the commands it received.
        diagnostics: Last diagnostics per node.
    """

    episodes: tuple[EpisodeResult, ...]
    monitor: Mapping[str, Any]
    diagnostics: Mapping[str, Mapping[str, str]]

    def results(self) -> dict[str, Any]:
        """Machine-readable results; a figure that was not measured is None, never 0."""
        return {
            **summarise(self.episodes),
            "limit_violations": int(self.monitor["total_violations"]),
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


def run_rollouts(
    options: GraphOptions,
    seeds: range,
    *,
    log_directory: Path,
    on_episode: OnEpisode,
    on_ready: OnReady | None = None,
) -> Summary:
    """Run one episode per seed through real processes and real DDS.

    Raises:
        ConfigError: If robot and policy do not fit; nothing is started.
        RolloutError: If a process dies or a step is refused; the message holds its last words.
    """
    graph = build_graph(options)
    results: list[EpisodeResult] = []
    with ProcessGroup(graph, options, log_directory=log_directory) as group:
        rollout = Rollout(options.namespace, recorder=options.recorder)

        def alive() -> None:
            obituary = group.obituary()
            if obituary:
                raise RolloutError(obituary)

        try:
            rollout.wait_ready(alive)
            if on_ready is not None:
                on_ready(rollout)
            for index, seed in enumerate(seeds):
                result = rollout.run_episode(seed, TASKS[options.task].horizon_s)
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
    return Summary(tuple(results), monitor, diagnostics)

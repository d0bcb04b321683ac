# SPDX-License-Identifier: Apache-2.0
"""Long runs under load: false stops counted, and whether memory, descriptors or threads grow.

The whole graph drives the simulated arm, episode after episode, while other programs take both
processors. Figures of every process come from /proc, once a second; what they do after the
warm-up is fitted with a line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.bench.rollouts import require_alive
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.parentage import as_parent
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros.rollout import Rollout, RolloutError
from levine_policy_node.sim.tasks import PickPlaceTask

RSS_LIMIT_MB_H = 1.0
"""Memory may grow so fast after the warm-up [MB/h]."""

_BURN = """
from levine_policy_node.parentage import end_with_parent
end_with_parent()
while True:
    pass
"""
_SHARED_MEMORY = "/dev/shm/"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_WARM_UP_SHARE = 1.0 / 3.0
_WARM_UP_MAX_S = 600.0
_FEWEST = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one time.

    Attributes:
        time_s: On the steady clock [s].
        rss_mb: Resident memory [MB].
        descriptors: Open files.
        threads: Threads.
        shared: Segments of shared memory.
    """

    time_s: float
    rss_mb: float
    descriptors: int
    threads: int
    shared: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What one process did after the warm-up.

    Attributes:
        process: Its executable.
        rss_mb: Median of its resident memory at the end [MB].
        rss_mb_per_h: Slope of its resident memory [MB/h].
        descriptors: Open files that were added, by the medians of both ends.
        threads: Threads that were added.
        shared: Segments of shared memory that were added.
    """

    process: str
    rss_mb: float
    rss_mb_per_h: float
    descriptors: int
    threads: int
    shared: int

    @property
    def within(self) -> bool:
        """Whether nothing grows."""
        added = max(self.descriptors, self.threads, self.shared)
        return self.rss_mb_per_h < RSS_LIMIT_MB_H and added <= 0


@dataclass(frozen=True, slots=True)
class Soak:
    """What one run measured.

    Attributes:
        minutes: How long it was [min].
        warm_up_s: What was left out at its beginning [s].
        episodes: Episodes that were run.
        stops: Why a watchdog stopped the arm, each time.
        missed_ticks: Ticks of the supervisor that came too late.
        violations: Commands beyond a limit, as the simulated arm counted them.
        first_violations: The first of them.
        growths: Of every process.
    """

    minutes: float
    warm_up_s: float
    episodes: int
    stops: tuple[str, ...]
    missed_ticks: int
    violations: int
    first_violations: tuple[Any, ...]
    growths: tuple[Growth, ...]

    @property
    def passed(self) -> bool:
        """Whether every bar is met."""
        grew = not all(growth.within for growth in self.growths)
        return not (self.stops or self.violations or grew)

    def results(self) -> dict[str, Any]:
        """Machine-readable results."""
        return {**asdict(self), "false_stops": len(self.stops), "passed": self.passed}


@dataclass(slots=True)
class _Watch:
    """Samples of every process, taken once a second."""

    pids: Mapping[str, int]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    due_s: float = 0.0

    def look(self) -> bool:
        """Sample if it is time; always False, to be asked while something is waited for."""
        now_s = time.monotonic()
        if now_s >= self.due_s:
            self.due_s = now_s + 1.0
            for name, pid in self.pids.items():
                self.samples.setdefault(name, []).append(_sample(pid, now_s))
        return False


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
    with tempfile.TemporaryDirectory(prefix="levine_soak_") as folder:
        options = GraphOptions(
            robot=robot,
            policy=policy,
            recordings=Path(folder) / "recordings",
            simulate=True,
            log_level="error",
        )
        graph = build_graph(options)
        with ProcessGroup(graph, options, log_directory=Path(folder) / "logs") as group:
            watch = _Watch({p.executable: group.pid(p.executable) for p in graph})
            rollout = _WatchedRollout(watch)

            alive = partial(require_alive, group)
            try:
                rollout.wait_ready(alive)
                burners = _burners()
                try:
                    return _soaked(minutes, rollout, watch, alive, on_news)
                finally:
                    for burner in burners:
                        burner.kill()
                        burner.wait()
            finally:
                rollout.close()


class _WatchedRollout(Rollout):
    """Samples the processes whenever it waits for something."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        super().__init__()

    def spin_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """As its parent does, and samples meanwhile."""
        return super().spin_until(lambda: self._watch.look() or done(), timeout_s)


def _soaked(
    minutes: float,
    rollout: Rollout,
    watch: _Watch,
    alive: Callable[[], None],
    on_news: Callable[[str], None],
) -> Soak:
    begun_s = time.monotonic()
    stops: list[str] = []
    seed = 0
    while time.monotonic() - begun_s < minutes * 60.0:
        result = rollout.run_episode(seed, PickPlaceTask.horizon_s)
        alive()
        seed += 1
        stops.extend(result.stops)
        stopped = f", stopped: {'; '.join(result.stops)}" if result.stops else ""
        on_news(f"{(time.monotonic() - begun_s) / 60.0:.1f} min, {seed} episodes{stopped}")
    took_s = time.monotonic() - begun_s
    warm_up_s = min(_WARM_UP_MAX_S, took_s * _WARM_UP_SHARE)
    since_s = begun_s + warm_up_s
    rollout.diagnostics.clear()
    rollout.spin_until(lambda: "safety_supervisor" in rollout.diagnostics, 5.0)
    supervisor, report = rollout.diagnostics["safety_supervisor"], rollout.report()
    return Soak(
        minutes=round(took_s / 60.0, 2),
        warm_up_s=round(warm_up_s, 1),
        episodes=seed,
        stops=tuple(stops),
        missed_ticks=int(supervisor["missed_ticks"]),
        violations=int(report["total_violations"]),
        first_violations=tuple(report["first_violations"]),
        growths=tuple(
            growth(name, [s for s in samples if s.time_s >= since_s])
            for name, samples in watch.samples.items()
        ),
    )


def growth(process: str, samples: list[Sample]) -> Growth:
    """Fit the samples of one process; a run too short to say anything grows without bound."""
    if len(samples) < _FEWEST:
        return Growth(process, float("nan"), float("inf"), 0, 0, 0)
    times_h = np.array([s.time_s for s in samples]) / 3600.0
    memory = np.array([s.rss_mb for s in samples])
    return Growth(
        process,
        round(float(np.median(memory[-_end(len(memory)) :])), 1),
        round(_slope(times_h, memory), 3),
        _grown([s.descriptors for s in samples]),
        _grown([s.threads for s in samples]),
        _grown([s.shared for s in samples]),
    )


def _slope(times: np.ndarray, values: np.ndarray) -> float:
    """Of the line through medians of twelve parts (or fewer): spikes do not turn it."""
    parts = np.array_split(np.arange(len(times)), min(12, len(times) // 2))
    at = np.array([np.median(times[part]) for part in parts])
    typical = np.array([np.median(values[part]) for part in parts])
    return float(np.polyfit(at - at[0], typical, 1)[0])


def _grown(counts: list[int]) -> int:
    """How much more there is at the end than at the beginning, by the least of both ends.

    Files are opened and closed all the time; what leaks is never closed.
    """
    end = _end(len(counts))
    return min(counts[-end:]) - min(counts[:end])


def _end(count: int) -> int:
    return max(2, count // 5)


def _sample(pid: int, now_s: float) -> Sample:
    process = Path("/proc") / str(pid)
    try:
        pages = int((process / "statm").read_text().split()[1])
        descriptors = len(list((process / "fd").iterdir()))
        threads = len(list((process / "task").iterdir()))
        mapped = (process / "maps").read_text().splitlines()
    except OSError as error:
        raise RolloutError(f"process {pid} is gone") from error
    shared = {line[line.index(_SHARED_MEMORY) :] for line in mapped if _SHARED_MEMORY in line}
    return Sample(now_s, pages * _PAGE / 1e6, descriptors, threads, len(shared))


def _burners() -> list[subprocess.Popen[bytes]]:
    """One program per processor that takes all of it, at normal priority."""
    environment = {**os.environ, **as_parent()}
    count = len(os.sched_getaffinity(0))
    return [subprocess.Popen([sys.executable, "-c", _BURN], env=environment) for _ in range(count)]

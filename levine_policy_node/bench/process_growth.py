# SPDX-License-Identifier: Apache-2.0
"""Whether the memory, descriptors, threads or shared memory of a process grow, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from levine_policy_node.ros.rollout import RolloutError

RSS_LIMIT_MB_H = 1.0
"""Memory may grow so fast after the warm-up [MB/h]."""

_SHARED_MEMORY = "/dev/shm/"
_PAGE = os.sysconf("SC_PAGE_SIZE")
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


@dataclass(slots=True)
class ProcessWatch:
    """Samples of every process, taken once a second."""

    pids: Mapping[str, int]
    samples: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    due_s: float = 0.0

    def look(self) -> bool:
        """Sample if it is time; always False, to be asked while something is waited for."""
        now_s = time.monotonic()
        if now_s >= self.due_s:
            self.due_s = now_s + 1.0
            for name, pid in self.pids.items():
                self.samples.setdefault(name, []).append(sample(pid, now_s))
        return False

    def growths(self, since_s: float, until_s: float) -> tuple[Growth, ...]:
        """What each process did from and until a time on the steady clock [s]."""
        return tuple(
            growth(name, [s for s in samples if since_s <= s.time_s <= until_s])
            for name, samples in self.samples.items()
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


def sample(pid: int, now_s: float) -> Sample:
    """Look at a process.

    Raises:
        RolloutError: If it is gone.
    """
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

# SPDX-License-Identifier: Apache-2.0
"""What the recorder costs and keeps beside a control loop, and what it does on a full disk."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mcap.reader import make_reader

from levine_policy_node.bench.recorder_load import (
    CAMERAS,
    COMMAND,
    CONTROL_HZ,
    PROPOSAL,
    STATES,
    TARGET,
    camera_topic,
)
from levine_policy_node.bench.recorder_rig import (
    Running,
    load,
    recorder_arguments,
    recorder_command,
    robot_file,
    running,
)
from levine_policy_node.errors import RecordingError
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.runtime.episode_document import read_document
from levine_policy_node.runtime.episode_list import listed_episodes, problems_of

_ASIDE_SHARE = 0.25
_SETTLE_S = 2.0
_DISK_MB = 8
_FULL_S = 120.0
_TAIL_NS = 100_000_000
_EVENT = "recording stopped, the arm is not affected"
_PERIOD_MS = 1e3 / CONTROL_HZ


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recording under the load of a robot with two cameras.

    Attributes:
        seconds: How long it was.
        drops: Messages that were sent meanwhile and are not in the file.
        dropped_by_queue: Of these, refused by the recorder's queue.
        missing: Which topics they are of.
        messages: In the file.
        cpu_pct: Processor time of the recorder, of one core [%].
        mb_per_s: Size of the file over its length.
        problems: What `levine record verify` finds.
        jitter_without_ms_p99: 99th percentile of the distance of the time between two commands
            from the period, before and after the recorder ran.
        jitter_with_ms_p99: The same while it recorded.
    """

    seconds: float
    drops: int
    dropped_by_queue: int
    missing: dict[str, int]
    messages: int
    cpu_pct: float
    mb_per_s: float
    problems: list[str]
    jitter_without_ms_p99: tuple[float, float]
    jitter_with_ms_p99: float


@dataclass(frozen=True, slots=True)
class FullDisk:
    """A recording on a disk that becomes full.

    Attributes:
        kind: `tmpfs` of a few MB, or a limit on the size of files where that is not permitted.
        event: Whether the recorder said that it stopped, and that the arm is not affected.
        alive: Whether it went on running.
        jitter_ms_p99: Of the commands meanwhile, as in `Recorded`.
        gap_ms_max: Longest time between two commands meanwhile.
    """

    kind: str
    event: bool
    alive: bool
    jitter_ms_p99: float
    gap_ms_max: float


def run_recorded(
    seconds: float, *, compressed: bool, large_memory: bool
) -> tuple[Recorded, FullDisk]:
    """Record for so long, then on a disk that becomes full, beside the same control loop.

    `compressed` and `large_memory` are those of `recorder_rig.load`.

    Raises:
        RecordingError: If a process does not start.
    """
    with tempfile.TemporaryDirectory(prefix="levine_bench_") as name:
        folder = Path(name)
        root = folder / "recordings"
        root.mkdir()
        robot = robot_file(folder, compressed=compressed)
        spans: list[tuple[int, int]] = []
        with load(folder, compressed=compressed, large_memory=large_memory) as robot_load:
            threading.Event().wait(_SETTLE_S)
            spans.append(_idle(_ASIDE_SHARE * seconds))
            command = recorder_command(recorder_arguments(robot, root))
            with running(command, folder / "recorder.log") as recorder:
                span, cpu_pct = _recorded(recorder, root, seconds)
                spans.append(span)
            spans.append(_idle(_ASIDE_SHARE * seconds))
            kind, event, alive, span = _filled(folder, robot)
            spans.append(span)
        told = robot_load.sent()
        [episode] = listed_episodes(root)
        missing = _missing(episode.files.closed_file, told["sent"], compressed=compressed)
        document = read_document(episode.files.document)
        length_s = max(float(document["duration_s"]), 1e-3)
        before, during, after, full = (_jitter(told["times_ns"], s) for s in spans)
        recorded = Recorded(
            seconds=seconds,
            drops=sum(missing.values()),
            dropped_by_queue=sum(document["dropped"].values()),
            missing=missing,
            messages=int(document["messages"]),
            cpu_pct=round(cpu_pct, 1),
            mb_per_s=round(document["bytes"] / length_s / 1e6, 2),
            problems=problems_of(episode),
            jitter_without_ms_p99=(before[0], after[0]),
            jitter_with_ms_p99=during[0],
        )
        return recorded, FullDisk(kind, event, alive, *full)


def _idle(seconds: float) -> tuple[int, int]:
    begin_ns = steady_now()
    threading.Event().wait(seconds)
    return begin_ns, steady_now()


def _recorded(recorder: Running, root: Path, seconds: float) -> tuple[tuple[int, int], float]:
    """Let it record; returns when that was, and the processor time it took [%]."""
    recorder.wait_for(lambda: next(root.rglob("*.open"), None) is not None, "episode")
    cpu_s, began = recorder.cpu_s(), time.monotonic()
    span = _idle(seconds)
    used = 100.0 * (recorder.cpu_s() - cpu_s) / (time.monotonic() - began)
    return span, used


def _filled(folder: Path, robot: Path) -> tuple[str, bool, bool, tuple[int, int]]:
    """Record on a small disk until the recorder says that it is full, and 3 s longer."""
    disk = folder / "disk"
    disk.mkdir()
    command = recorder_command(recorder_arguments(robot, disk))
    mounted = f"mount -t tmpfs -o size={_DISK_MB}m tmpfs {shlex.quote(str(disk))}"
    unshared = ["unshare", "--mount", "sh", "-c"]
    limited = f"ulimit -f {_DISK_MB * 1024}"
    permitted = _works([*unshared, mounted])
    prepare = [*unshared, mounted] if permitted else ["sh", "-c", limited]
    prepare[-1] += ' && exec "$@"'
    begin_ns = steady_now()
    with running([*prepare, "sh", *command], folder / "disk.log") as recorder:
        event = _comes(recorder, _FULL_S)
        threading.Event().wait(3.0)
        alive = recorder.popen.poll() is None
        span = begin_ns, steady_now()
    return "tmpfs" if permitted else "file size limit", event, alive, span


def _comes(recorder: Running, timeout_s: float) -> bool:
    """Whether the recorder says that it has stopped."""
    try:
        recorder.wait_for(lambda: _EVENT in recorder.output(), "event of a full disk", timeout_s)
    except RecordingError:
        return False
    return True


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _missing(file: Path, sent: dict[str, list[int]], *, compressed: bool) -> dict[str, int]:
    """How many messages of each topic were sent during an episode and are not in its file."""
    recorded: dict[str, Counter[int]] = {}
    with file.open("rb") as stream:
        for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages():
            recorded.setdefault(channel.topic, Counter())[message.publish_time] += 1
    found: dict[str, int] = {}
    topics = {t: f"/{t}" for t in (STATES, COMMAND, PROPOSAL, TARGET)}
    for name in CAMERAS:
        topic = camera_topic(name, compressed=compressed)
        topics[topic] = f"/{camera_topic(name, compressed=True)}"
    # What was sent last may not have been received when the recorder was told to end.
    end = max(recorded.get(topics[COMMAND], {0: 1})) - _TAIL_NS
    for topic, name in topics.items():
        there = recorded.get(name, Counter())
        # A recorder that starts finds one publisher after the other.
        begin = min(there, default=0)
        lost = sum(1 for stamp in sent[topic] if begin <= stamp <= end and stamp not in there)
        if lost:
            found[topic] = lost
    return found


def _jitter(times_ns: list[int], span: tuple[int, int]) -> tuple[float, float]:
    """99th percentile of the distance from the period, and the longest gap [ms]."""
    times = np.array([t for t in times_ns if span[0] <= t <= span[1]], dtype=np.float64)
    if len(times) < 2:
        return float("nan"), float("nan")
    gaps = np.diff(times) / 1e6
    p99 = float(np.percentile(np.abs(gaps - _PERIOD_MS), 99))
    return round(p99, 3), round(float(gaps.max()), 3)


def figures(recorded: Recorded) -> dict[str, Any]:
    """What of a recording goes into a report, with how far apart the runs without it were."""
    before, after = recorded.jitter_without_ms_p99
    return {**asdict(recorded), "jitter_noise_ms": round(abs(before - after), 3)}

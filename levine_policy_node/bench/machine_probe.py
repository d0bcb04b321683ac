# SPDX-License-Identifier: Apache-2.0
"""Notices when the machine itself is held up, as virtual ones are by their neighbours.

A process that only sleeps, in real time where that is permitted, wakes late when its core does
not run. One sleeps on each core, for a virtual machine's cores stand still one by one. What is
measured meanwhile says nothing about the runtime.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque

HELD_UP_S = 0.04
"""Two fifths of the shortest watchdog: a stop cannot come from less."""

_PERIOD_S = 0.005
_PRIORITY = 90
_KEPT = 10_000
_NOTED_S = 0.005
_STDIN = 0


class MachineProbe:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def __enter__(self) -> MachineProbe:
        """Begin to watch."""
        self._sleepers = [_sleeper_on(core) for core in sorted(os.sched_getaffinity(0))]
        self._readers = [
            threading.Thread(target=self._read, args=(sleeper,), name="machine_probe", daemon=True)
            for sleeper in self._sleepers
        ]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """End the processes."""
        for sleeper, reader in zip(self._sleepers, self._readers, strict=True):
            with sleeper:
                if sleeper.stdin is not None:
                    sleeper.stdin.close()
                reader.join()

    @property
    def pids(self) -> list[int]:
        """Of the processes that sleep, one on each core."""
        return [sleeper.pid for sleeper in self._sleepers]

    def late_s(self, since_s: float) -> float:
        """How long a core was held up at most, since a time on the monotonic clock [s]."""
        return max((late for woken_s, late in list(self._late) if woken_s >= since_s), default=0.0)

    def wait_calm(self, calm_s: float, patience_s: float) -> None:
        """Wait until the machine has not been held up for `calm_s`, or until patience ends."""
        deadline_s, pace = time.monotonic() + patience_s, threading.Event()
        while self.late_s(time.monotonic() - calm_s) > HELD_UP_S / 2.0:
            if time.monotonic() > deadline_s:
                return
            pace.wait(_PERIOD_S)

    def _read(self, sleeper: subprocess.Popen[str]) -> None:
        for line in sleeper.stdout or ():
            woken_s, late_s = map(float, line.split())
            self._late.append((woken_s, late_s))


def _sleeper_on(core: int) -> subprocess.Popen[str]:
    # It ends when its input does, so also when this process is killed.
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(core)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def main(core: int) -> int:
    """Sleep on `core` until the input ends, and say when that took longer than it should."""
    gc.disable()
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    while True:
        begin_s = time.monotonic()
        if select.select([_STDIN], [], [], _PERIOD_S)[0]:
            return 0
        woken_s = time.monotonic()
        late_s = woken_s - begin_s - _PERIOD_S
        if late_s > _NOTED_S:
            sys.stdout.write(f"{woken_s} {late_s}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))

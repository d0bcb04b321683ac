# SPDX-License-Identifier: Apache-2.0
"""Run every test; each file that uses ROS 2 gets a process of its own.

Those that use ROS 2 mostly wait, one file after the other. The others run beside them in what is
left of the processor, at the lowest priority, so that they do not make them late.

Two things say nothing about a test, so its file is run again, and it is said why. rclpy's wheels
crash now and then while a node is destroyed (a segmentation fault in `Node.destroy_node`, seen
about once in 200 tests). And watchdogs of a tenth of a second stop the arm, as they should, on a
machine that is held up for as long, as virtual ones are by their neighbours.

Any other file that fails is run once more, two of them in a run at most, and told at its end:
processes that find each other over DDS race, and a test that loses such a race once in a hundred
runs is to be mended, but says nothing about the change that was tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATTEMPTS = 3
RACES = 2
"""So many files may fail once on a machine that was not held up."""
NO_TESTS = 5
HELD_UP_S = 0.04
"""Two fifths of the shortest watchdog; the rest it needs for what it watches."""


def main() -> int:
    """Run every group and return 0 if every test passed."""
    plain = ["test/unit", "test/runtime", "test/test_architecture.py"]
    with_ros = [
        str(path.relative_to(ROOT))
        for level in ("ros", "system")
        for path in sorted((ROOT / "test" / level).glob("test_*.py"))
    ]
    groups = [*([path] for path in with_ros), ["test/launch"]]
    machine = Machine()
    # Software GL leaves denormals switched off in the process, so sim has its own.
    with Beside([plain, ["test/sim"]]) as beside:
        races: list[list[str]] = []
        failed = [group for group in groups if run(group, machine, races) not in {0, NO_TESTS}]
    failed += beside.failed
    for group in races:
        sys.stderr.write(f"failed once, for no reason known: {' '.join(group)}\n")
    for group in failed:
        sys.stderr.write(f"failed: {' '.join(group)}\n")
    return 1 if failed else 0


def command(group: list[str]) -> list[str]:
    """How pytest is started for a group."""
    return [sys.executable, "-m", "pytest", "-q", *group]


def run(group: list[str], machine: Machine, races: list[list[str]]) -> int:
    """Run one pytest process; again if that says nothing about the tests.

    Args:
        group: What pytest is given.
        machine: It runs on.
        races: Groups that failed for no reason known and were run again; this one may be added.
    """
    code = 0
    for attempt in range(ATTEMPTS):
        machine.begin()
        code = subprocess.call(command(group), cwd=ROOT)
        reason = f"the interpreter crashed (signal {-code})" if code < 0 else machine.held_up()
        if code in {0, NO_TESTS}:
            return code
        if not reason:
            if group in races or len(races) == RACES:
                return code
            races.append(group)
            reason = "a failure for no reason known"
        again = "it is run again" if attempt + 1 < ATTEMPTS else "it failed every time"
        sys.stderr.write(f"{reason} in {' '.join(group)}: {again}\n")
    return code


class Beside:
    """Groups that run one after the other with what the rest leaves of the machine.

    Attributes:
        failed: Those that did; complete when the context is left.
    """

    def __init__(self, groups: list[list[str]]) -> None:
        self.failed: list[list[str]] = []
        self._groups = groups
        self._thread = threading.Thread(target=self._run, name="beside")

    def __enter__(self) -> Beside:
        """Begin."""
        self._output = tempfile.TemporaryFile()
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Wait, and print what they printed."""
        self._thread.join()
        with self._output as output:
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))

    def _run(self) -> None:
        for group in self._groups:
            beside = ["nice", "-n", "19", *command(group)]
            code = subprocess.call(beside, cwd=ROOT, stdout=self._output, stderr=self._output)
            if code != 0:
                self.failed.append(group)


class Machine:
    """Notices when this machine is held up."""

    def __init__(self) -> None:
        self._late_s = self._stolen_s = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self) -> None:
        """Look from now on."""
        self._late_s, self._stolen_s = 0.0, stolen_s()

    def held_up(self) -> str:
        """How it was held up since `begin`, or ""."""
        lost_s = stolen_s() - self._stolen_s
        if max(self._late_s, lost_s) < HELD_UP_S:
            return ""
        return (
            f"the machine was held up (a thread woke {self._late_s:.2f} s late; its host took "
            f"{lost_s:.2f} s of processor time)"
        )

    def _watch(self) -> None:
        never, period_s = threading.Event(), 0.01
        while True:
            begin_s = time.monotonic()
            never.wait(period_s)
            self._late_s = max(self._late_s, time.monotonic() - begin_s - period_s)


def stolen_s() -> float:
    """Processor time that the host gave to others since it started [s]; 0 where nobody counts."""
    path = Path("/proc/stat")
    if not path.is_file():
        return 0.0
    return int(path.read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())

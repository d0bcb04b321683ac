# SPDX-License-Identifier: Apache-2.0
"""Processes of `levine bench recorder`: what a robot says, and the recorder that records it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from levine_policy_node.bench.recorder_load import CAMERAS, camera_topic
from levine_policy_node.errors import RecordingError
from levine_policy_node.parentage import as_parent
from levine_policy_node.resources import share_directory
from levine_policy_node.transports import fastdds_profile

_END_S = 30.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def robot_file(folder: Path, *, compressed: bool) -> Path:
    """Write the robot file of a simulated arm with two cameras of the usual size."""
    source = share_directory() / "config" / "robots" / "sim_so101.yaml"
    document = yaml.safe_load(source.read_text())
    document["cameras"] = {
        name: {"topic": camera_topic(name, compressed=compressed), "compressed": compressed}
        for name in CAMERAS
    }
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def recorder_arguments(robot: Path, root: Path) -> list[str]:
    """ROS arguments of a recorder that is not stopped by how full this computer's disk is."""
    values = {"robot": robot, "root": root, "min_free_gb": 0.0, "reserve_gb": 0.0}
    arguments = ["--ros-args", "--log-level", "warn"]
    for name, value in values.items():
        arguments += ["-p", f"{name}:={value}"]
    return arguments


class Running:
    """One process and what it prints; its end is part of the context."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("wb") as stream:
            self.popen = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **as_parent(), **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.popen.pid

    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def cpu_s(self) -> float:
        """Processor time it has used [s]."""
        # The name in parentheses may hold anything.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Wait until something is so.

        Raises:
            RecordingError: If the process ends first, or it takes too long.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.popen.poll() is not None or time.monotonic() > deadline:
                lines = self.output().strip().splitlines() or ["nothing"]
                raise RecordingError(f"bench recorder: no {what}; it printed: {lines[-1]}")
            threading.Event().wait(0.01)

    def end(self) -> None:
        """Ask it to end and wait."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a process for as long as the context lasts."""
    process = Running(command, log, environment)
    try:
        yield process
    finally:
        process.end()


def recorder_command(arguments: Sequence[str]) -> list[str]:
    """Start the recorder as its users do."""
    return [sys.executable, "-m", "levine_policy_node.nodes.intervention_recorder", *arguments]


@dataclass(frozen=True, slots=True)
class Load:
    """What the robot says: two processes, and the files they leave."""

    sensors: Running
    control: Running
    folder: Path

    def sent(self) -> dict[str, Any]:
        """What both have sent; once they have ended."""
        found: dict[str, Any] = {"sent": {}, "times_ns": []}
        for role in ("sensors", "control"):
            told = json.loads((self.folder / f"{role}.json").read_text())
            found["sent"] |= told["sent"]
            found["times_ns"] += told["times_ns"]
        return found


@contextlib.contextmanager
def load(
    folder: Path, *, compressed: bool, cycle_s: float = 0.0, large_memory: bool = True
) -> Iterator[Load]:
    """Say what a robot says for as long as the context lasts.

    Args:
        folder: For what they leave.
        compressed: Whether cameras send JPEG.
        cycle_s: An episode ends and another begins this often [s]; 0 for one that goes on.
        large_memory: Whether the cameras' driver has the shared memory that docs/recording.md
            asks for; Fast DDS gives it less.
    """
    profiles = fastdds_profile("fastdds_shared_memory") if large_memory else None
    base = [sys.executable, "-m", "levine_policy_node.bench.recorder_load"]
    how = "compressed" if compressed else "raw"
    sensors = [*base, "sensors", str(folder / "sensors.json"), how]
    control = [*base, "control", str(folder / "control.json"), str(cycle_s)]
    with (
        running(sensors, folder / "sensors.log", profiles) as sensors_process,
        running(control, folder / "control.log") as control_process,
    ):
        yield Load(sensors_process, control_process, folder)

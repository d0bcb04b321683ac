# SPDX-License-Identifier: Apache-2.0
"""Run a process graph without a launch system, and always leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from levine_policy_node.graph import GraphOptions, Process
from levine_policy_node.parentage import as_parent
from levine_policy_node.ros.security import require_security

_STOP_GRACE_S = 5.0


class ProcessGroup:
    """The processes of one graph; a context manager that ends them all.

    Output goes to the terminal, or to one file per executable under `log_directory`.
    """

    def __init__(
        self,
        graph: tuple[Process, ...],
        options: GraphOptions,
        *,
        log_directory: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._graph = graph
        self._options = options
        self._log_directory = log_directory
        self._environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **as_parent(),
            **(environment or {}),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> ProcessGroup:
        require_security()
        try:
            for process in self._graph:
                self.start(process)
        except BaseException:
            # An interrupt while they start would else leave those that have.
            self.stop()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def start(self, process: Process) -> None:
        """Start one process in its own group, so that a terminal's Ctrl-C reaches only us.

        On Linux it also ends, and brakes the arm, when we are killed.
        """
        command = [
            sys.executable,
            "-m",
            f"levine_policy_node.nodes.{process.executable}",
            *process.ros_arguments(self._options),
        ]
        output = None
        if self._log_directory is not None:
            self._log_directory.mkdir(parents=True, exist_ok=True)
            output = (self._log_directory / f"{process.executable}.log").open("ab")
        try:
            self._running[process.executable] = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=self._environment,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()

    def obituary(self) -> str:
        """How an essential process ended, with its last words; "" while all run."""
        failure = self.failed()
        if failure is None:
            return ""
        name, code = failure
        return f"{name} ended with exit code {code}: {self.log_tail(name)}"

    def pid(self, executable: str) -> int:
        """Process id of a running executable."""
        return self._running[executable].pid

    def failed(self) -> tuple[str, int] | None:
        """The first essential process that has ended, with its exit code."""
        for process in self._graph:
            child = self._running.get(process.executable)
            if child is not None and process.essential and child.poll() is not None:
                return process.executable, int(child.returncode)
        return None

    def wait(self, stopped: threading.Event) -> tuple[str, int] | None:
        """Wait until `stopped` is set or an essential process ends."""
        while not stopped.wait(0.2):
            failure = self.failed()
            if failure is not None:
                return failure
        return None

    def log_tail(self, executable: str, lines: int = 3) -> str:
        """Last lines a process wrote, when its output goes to files."""
        if self._log_directory is None:
            return ""
        path = self._log_directory / f"{executable}.log"
        text = path.read_text(errors="replace") if path.is_file() else ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def stop(self) -> None:
        """End every process: SIGINT first, SIGKILL for what is left after a grace period.

        The supervisor is told last, so that it can still brake whatever is moving.
        """
        order = sorted(self._running, key=lambda name: name in {"safety_supervisor", "sim_arm"})
        for name in order:
            child = self._running[name]
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
            try:
                child.wait(_STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self._running.clear()

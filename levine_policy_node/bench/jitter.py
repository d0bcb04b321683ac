# SPDX-License-Identifier: Apache-2.0
"""How punctual commands are while everything else runs, beside an rclpy timer in the same run.

The whole graph runs as it would on a robot: two cameras, inference, recorder, supervisor. Only
the process that infers is spun by rclpy's executor, with a timer of the same rate in it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros.rollout import Rollout, RolloutError
from levine_policy_node.sim.tasks import PickPlaceTask

_INFERS = "policy_runtime"
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Jitter:
    """What one run measured.

    Attributes:
        rate_hz: Rate of the control loop and of the timer.
        p99_ms: 99th percentile of the distance of the time between two commands from the period.
        baseline_p99_ms: The same of the timer.
        gap_max_ms: Longest time between two commands.
        gaps_over_3_periods: How many were longer than three periods.
        baseline_gaps_over_3_periods: The same of the timer.
        commands: Ticks of the control loop.
        scheduler: Of the supervisor: SCHED_FIFO where it is permitted.
    """

    rate_hz: float
    p99_ms: float
    baseline_p99_ms: float
    gap_max_ms: float
    gaps_over_3_periods: int
    baseline_gaps_over_3_periods: int
    commands: int
    scheduler: str

    @property
    def ratio_p99(self) -> float:
        """How many times closer to the period the commands are than the timer."""
        return self.baseline_p99_ms / self.p99_ms if self.p99_ms > 0.0 else float("inf")


def run_jitter(rate_hz: float, duration_s: float, *, robot: str, policy: str) -> Jitter:
    """Let the policy act for at least `duration_s` [s] and measure.

    Raises:
        ConfigError: If robot and policy do not fit.
        RolloutError: If a process dies or a step is refused.
    """
    with tempfile.TemporaryDirectory(prefix="levine_bench_") as folder:
        options = GraphOptions(
            robot=robot,
            policy=policy,
            recorder=True,
            recordings=Path(folder) / "recordings",
            simulate=True,
            log_level="warn",
            overrides={"safety_supervisor": {"control_rate_hz": rate_hz}},
        )
        graph = build_graph(options)
        (infers,) = (process for process in graph if process.executable == _INFERS)
        times = Path(folder) / "timer.json"
        command = [sys.executable, "-m", "levine_policy_node.bench.timer_probe"]
        command += [str(rate_hz), str(times), *infers.ros_arguments(options)]
        others = tuple(process for process in graph if process is not infers)
        with ProcessGroup(others, options, log_directory=Path(folder) / "logs"):
            probe = subprocess.Popen(command, env=dict(os.environ))
            try:
                figures = _act(probe, duration_s)
            finally:
                probe.send_signal(signal.SIGINT)
                probe.wait(_STOP_S)
        fired_ns = np.array(json.loads(times.read_text()), dtype=np.float64)
    baseline = np.diff(fired_ns) / 1e6
    period_ms = 1e3 / rate_hz
    return Jitter(
        rate_hz=rate_hz,
        p99_ms=float(figures["command_jitter_ms_p99"]),
        baseline_p99_ms=round(float(np.percentile(np.abs(baseline - period_ms), 99)), 3),
        gap_max_ms=float(figures["command_gap_ms_max"]),
        gaps_over_3_periods=int(figures["command_gaps_over_3_periods"]),
        baseline_gaps_over_3_periods=int(np.count_nonzero(baseline > 3.0 * period_ms)),
        commands=int(figures["ticks"]),
        scheduler=figures["scheduler"],
    )


def _act(probe: subprocess.Popen[bytes], duration_s: float) -> dict[str, str]:
    """Run episodes for so long, and return the supervisor's diagnostics."""
    rollout = Rollout(recorder=True)

    def alive() -> None:
        if probe.poll() is not None:
            raise RolloutError(f"the policy ended with exit code {probe.returncode}")

    try:
        rollout.wait_ready(alive)
        began = time.monotonic()
        seed = 0
        while time.monotonic() - began < duration_s:
            rollout.run_episode(seed, PickPlaceTask.horizon_s)
            alive()
            seed += 1
        rollout.diagnostics.clear()
        rollout.spin_until(lambda: "safety_supervisor" in rollout.diagnostics, 3.0)
        return rollout.diagnostics["safety_supervisor"]
    finally:
        rollout.close()

# SPDX-License-Identifier: Apache-2.0
"""What is measured while the machine itself stands still is known, and measured again."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from levine_policy_node.bench.machine_probe import HELD_UP_S, MachineProbe
from levine_policy_node.bench.rollouts import EpisodeRuns
from levine_policy_node.core.success_rate import EpisodeResult

STILL_S = 0.3
DEADLINE_S = 5.0


def test_a_core_that_did_not_run_for_a_while_is_known():
    with MachineProbe() as probe:
        pids = probe.pids
        assert len(pids) == len(os.sched_getaffinity(0))
        for pid in pids:
            begin_s, pace = time.monotonic(), threading.Event()
            while probe.late_s(begin_s) < STILL_S / 2.0:
                assert time.monotonic() < begin_s + DEADLINE_S
                os.kill(pid, signal.SIGSTOP)
                pace.wait(STILL_S)
                os.kill(pid, signal.SIGCONT)
                pace.wait(STILL_S / 10.0)
        assert probe.late_s(time.monotonic() + STILL_S) == 0.0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class HeldUp(MachineProbe):
    """Of a machine that is held up in the first episodes; nothing watches."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def late_s(self, since_s: float) -> float:
        del since_s
        self.left -= 1
        return 2.0 * HELD_UP_S if self.left >= 0 else 0.0

    def wait_calm(self, calm_s: float, patience_s: float) -> None:
        del calm_s, patience_s


class Arm:
    """Counts episodes; each costs three violations while the machine is held up."""

    def __init__(self, probe: HeldUp) -> None:
        self.probe, self.episodes, self.violations = probe, 0, 0

    def run_episode(self, seed: int, horizon_s: float) -> EpisodeResult:
        self.episodes += 1
        self.violations += 3 if self.probe.left > 0 else 1
        return EpisodeResult(seed, success=True, duration_s=horizon_s, ended_by="success")

    def report(self):
        return {"total_violations": self.violations}


def test_an_episode_is_run_again_while_the_machine_is_held_up():
    probe = HeldUp(2)
    arm = Arm(probe)
    runs = EpisodeRuns(arm, 1.0, probe)
    assert runs.run(7).seed == 7
    assert (arm.episodes, runs.repeated, runs.violations_apart) == (3, 2, 6)
    assert arm.violations - runs.violations_apart == 1


def test_a_machine_that_never_rests_is_measured_as_it_is():
    probe = HeldUp(100)
    arm = Arm(probe)
    runs = EpisodeRuns(arm, 1.0, probe)
    runs.run(7)
    assert (arm.episodes, runs.repeated, runs.violations_apart) == (5, 4, 12)


def test_without_a_probe_nothing_is_run_again():
    arm = Arm(HeldUp(2))
    runs = EpisodeRuns(arm, 1.0, None)
    runs.run(7)
    assert (arm.episodes, runs.repeated) == (1, 0)

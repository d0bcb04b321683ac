# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from harness import wait_until

from levine_policy_node.core.units import StampNs
from levine_policy_node.nodes.sim_control import ControlThread

PERIOD = 5_000_000
EPOCH = 1_700_000_000_000_000_000


class Ticks:
    """Records stamps; the tick number `stall_at` takes `stall_s`."""

    def __init__(self, stall_at=-1, stall_s=0.0):
        self.stamps: list[int] = []
        self.step_ns = 0
        self._stall_at, self._stall_s = stall_at, stall_s
        self.thread = ControlThread(PERIOD, self._tick, self._clock)

    def _clock(self):
        return StampNs(time.monotonic_ns() + EPOCH + self.step_ns)

    def _tick(self, stamp_ns):
        if len(self.stamps) == self._stall_at:
            threading.Event().wait(self._stall_s)
        self.stamps.append(stamp_ns)

    def run(self, count):
        self.thread.start()
        wait_until(lambda: len(self.stamps) >= count, 20, f"{count} ticks")
        self.thread.close()
        return np.diff(self.stamps)


def test_cycles_missed_in_a_stall_are_made_up_for_with_their_own_stamps():
    ticks = Ticks(stall_at=10, stall_s=0.1)
    assert np.all(ticks.run(60) == PERIOD)
    assert ticks.thread.skipped == 0
    assert ticks.thread.lateness_percentiles()[2] > 80


def test_after_a_long_stall_cycles_are_skipped_and_counted():
    ticks = Ticks(stall_at=10, stall_s=0.5)
    steps = ticks.run(40)
    assert ticks.thread.skipped > 50
    assert np.all(steps % PERIOD == 0)
    assert np.sum(steps > PERIOD) >= 1


def test_stamps_follow_a_step_of_the_ros_clock():
    ticks = Ticks()
    ticks.thread.start()
    wait_until(lambda: len(ticks.stamps) > 10, 10, "ticks")
    ticks.step_ns = 3_600_000_000_000
    wait_until(lambda: ticks.stamps[-1] > ticks.stamps[0] + ticks.step_ns, 10, "the new time")
    ticks.thread.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_is_kept_for_the_owner_to_raise():
    def tick(stamp_ns):
        raise ZeroDivisionError

    thread = ControlThread(PERIOD, tick, lambda: StampNs(time.monotonic_ns()))
    thread.start()
    wait_until(lambda: thread.failure is not None, 10, "the failure")
    assert isinstance(thread.failure, ZeroDivisionError)
    thread.close()
    thread.close()

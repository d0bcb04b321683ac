# SPDX-License-Identifier: Apache-2.0
"""The inference thread: newest request first, failures as results, bugs as poison."""

from __future__ import annotations

import queue
import threading
import time
import weakref

import numpy as np
import pytest

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import InferenceError, ObservationError
from levine_policy_node.runtime.inference_worker import InferenceRequest, InferenceWorker
from levine_policy_node.runtime.run_watchdog import RunWatchdog

TIMEOUT_S = 10.0


class ScriptedPolicy:
    """Does what the test says, in the worker's thread."""

    source = "policy:scripted@00000000"
    graph_s = 0.0

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.seen = []
        self.prefixes = []
        self.resets = 0
        self.error = None

    def reset(self):
        self.resets += 1

    def close(self):
        pass

    def infer(self, observation, prefix=None):
        self.seen.append(observation.stamp_ns)
        self.prefixes.append(prefix)
        self.entered.set()
        assert self.gate.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return ActionChunk(("a",), observation.stamp_ns, 0.1, np.zeros((2, 1)))


def request(stamp: int, epoch: int = 0) -> InferenceRequest:
    return InferenceRequest(Observation(StampNs(stamp), np.zeros(1)), epoch)


def wait_for(condition) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.002)
    assert condition()


@pytest.fixture
def policy():
    return ScriptedPolicy()


@pytest.fixture
def told():
    return queue.Queue()


@pytest.fixture
def worker(policy, told):
    made = InferenceWorker(policy, told.put)
    yield made
    policy.gate.set()
    assert made.close()
    assert not made.alive


def test_a_request_gives_a_result(worker, told):
    assert worker.idle
    worker.submit(request(7, epoch=3))
    result = told.get(timeout=TIMEOUT_S)
    assert (result.observed_ns, result.epoch, result.error) == (7, 3, "")
    assert result.chunk.observed_ns == 7
    assert result.duration_s >= 0.0
    wait_for(lambda: worker.idle)
    assert worker.completed == 1


def test_the_policy_gets_the_prefix_of_its_request(worker, policy, told):
    prefix = ActionPrefix(np.zeros((3, 1)), delay_rows=2)
    worker.submit(InferenceRequest(Observation(StampNs(1), np.zeros(1)), 0, prefix))
    told.get(timeout=TIMEOUT_S)
    assert policy.prefixes == [prefix]


def test_only_the_newest_waiting_request_is_served(worker, policy, told):
    policy.gate.clear()
    worker.submit(request(1))
    assert policy.entered.wait(TIMEOUT_S)
    for stamp in (2, 3, 4):
        worker.submit(request(stamp))
    assert not worker.idle
    policy.gate.set()
    for _ in range(2):
        told.get(timeout=TIMEOUT_S)
    assert policy.seen == [1, 4]
    wait_for(lambda: worker.idle)


def test_a_running_inference_shows_how_long_it_runs(worker, policy, told):
    policy.gate.clear()
    worker.submit(request(1))
    assert policy.entered.wait(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while worker.longest_s() < 0.05 and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert worker.longest_s() >= 0.05
    policy.gate.set()
    told.get(timeout=TIMEOUT_S)
    # The last inference stays on record, so that a stopped run is not forgotten at once.
    assert worker.longest_s() >= 0.05


@pytest.mark.parametrize("error", [InferenceError("bad output"), ObservationError("no image")])
def test_a_foreseen_failure_is_a_result_without_chunk(worker, policy, told, error):
    policy.error = error
    worker.submit(request(1))
    result = told.get(timeout=TIMEOUT_S)
    assert result.chunk is None
    assert result.error == str(error)
    assert worker.alive
    assert worker.completed == 0
    policy.error = None
    worker.submit(request(2))
    assert told.get(timeout=TIMEOUT_S).chunk is not None


def test_a_bug_poisons_the_worker(worker, policy, told):
    policy.error = KeyError("bug")
    worker.submit(request(1))
    wait_for(lambda: worker.failure is not None)
    assert isinstance(worker.failure, KeyError)
    assert not worker.alive
    assert told.empty()


def test_the_policy_is_reset_at_each_new_epoch(worker, policy, told):
    for stamp, epoch in enumerate((1, 1, 2, 2, 3)):
        worker.submit(request(stamp, epoch))
        told.get(timeout=TIMEOUT_S)
    assert policy.resets == 3


def test_the_worker_is_busy_until_its_result_was_taken(policy):
    taking, taken = threading.Event(), threading.Event()

    def take(_):
        taking.set()
        assert taken.wait(TIMEOUT_S)

    worker = InferenceWorker(policy, take)
    worker.submit(request(1))
    assert taking.wait(TIMEOUT_S)
    assert not worker.idle
    taken.set()
    wait_for(lambda: worker.idle)
    assert worker.close()


def test_a_request_is_served_by_the_policy_it_was_submitted_to(worker, policy, told):
    other = ScriptedPolicy()
    policy.gate.clear()
    worker.submit(request(1))
    assert policy.entered.wait(TIMEOUT_S)
    worker.use(other)
    assert not worker.wait_unused(policy, 0.05)
    worker.submit(request(2, epoch=1))
    policy.gate.set()
    assert told.get(timeout=TIMEOUT_S).policy is policy
    result = told.get(timeout=TIMEOUT_S)
    assert (result.policy, result.epoch, result.observed_ns) == (other, 1, 2)
    assert worker.wait_unused(policy, TIMEOUT_S)
    assert not worker.wait_unused(other, 0.0)
    assert (policy.seen, other.seen, other.resets) == ([1], [2], 1)


def test_a_waiting_request_keeps_its_policy_in_use(worker, policy, told):
    other = ScriptedPolicy()
    policy.gate.clear()
    worker.submit(request(1))
    assert policy.entered.wait(TIMEOUT_S)
    worker.submit(request(2))
    worker.use(other)
    policy.gate.set()
    assert worker.wait_unused(policy, TIMEOUT_S)
    assert [told.get(timeout=TIMEOUT_S).policy for _ in range(2)] == [policy, policy]


def test_nothing_of_a_policy_is_kept_once_it_is_unused(worker, policy, told):
    other, replaced = ScriptedPolicy(), ScriptedPolicy()
    worker.use(replaced)
    worker.submit(request(1))
    told.get(timeout=TIMEOUT_S)
    worker.use(other)
    assert worker.wait_unused(replaced, TIMEOUT_S)
    gone = weakref.ref(replaced)
    del replaced
    wait_for(lambda: gone() is None)


class TestRunWatchdog:
    @pytest.fixture
    def watchdog(self):
        made = RunWatchdog(0.4)
        yield made
        made.close()
        made.close()

    def test_a_long_block_is_stopped_once(self, watchdog):
        stopped = threading.Semaphore(0)
        with watchdog.guard(stopped.release):
            assert stopped.acquire(timeout=TIMEOUT_S)
        assert not stopped.acquire(timeout=0.5)

    def test_a_short_block_is_left_alone(self, watchdog):
        stopped = threading.Event()
        with watchdog.guard(stopped.set):
            pass
        assert not stopped.wait(0.6)

    def test_each_block_has_its_own_time(self, watchdog):
        stopped = threading.Event()
        for _ in range(4):
            with watchdog.guard(stopped.set):
                threading.Event().wait(0.15)
        assert not stopped.is_set()
        with watchdog.guard(stopped.set):
            assert stopped.wait(TIMEOUT_S)

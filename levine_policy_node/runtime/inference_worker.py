# SPDX-License-Identifier: Apache-2.0
"""One thread that runs a policy, so that nothing else ever waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.policy import Policy
from levine_policy_node.core.units import StampNs, seconds
from levine_policy_node.errors import InferenceError, ObservationError


@dataclass(frozen=True, slots=True, eq=False)
class InferenceRequest:
    """One observation to infer from.

    Attributes:
        observation: What the policy sees.
        epoch: Counts the times the policy took over; the policy is reset at each new one.
        prefix: What will be played meanwhile, if the policy is to continue it.
    """

    observation: Observation
    epoch: int = 0
    prefix: ActionPrefix | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InferenceResult:
    """What came of one request.

    Attributes:
        request: What was asked.
        policy: Who was asked.
        duration_s: Time the inference took [s].
        graph_s: How much of it was spent inside the graphs [s].
        chunk: The policy's output, or None.
        error: Why there is no chunk, or "".
    """

    request: InferenceRequest
    policy: Policy
    duration_s: float
    graph_s: float = 0.0
    chunk: ActionChunk | None = None
    error: str = ""

    @property
    def epoch(self) -> int:
        """Of the request."""
        return self.request.epoch

    @property
    def observed_ns(self) -> StampNs:
        """Reference time of the observation, on the ROS clock."""
        return self.request.observation.stamp_ns


class InferenceWorker:
    """Runs the newest request in its own thread.

    A failure the policy foresees becomes a result without chunk. Any other exception poisons the
    worker: the thread ends, `failure` says why, and the owner must not go on.

    Args:
        policy: Used by the thread only, until `close` or `wait_unused` says that it is free.
        on_result: Called in the thread with each result; the worker is idle once it has returned.
    """

    def __init__(self, policy: Policy, on_result: Callable[[InferenceResult], None]) -> None:
        self.failure: Exception | None = None
        self._policy = policy
        self._on_result = on_result
        self._running_since_ns: int | None = None
        self._last_duration_s = 0.0
        self._completed = 0
        self._epoch: int | None = None
        self._condition = threading.Condition()
        # Guarded by the condition. A request is served by the policy it was submitted to.
        self._waiting: tuple[InferenceRequest, Policy] | None = None
        self._serving: Policy | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread can still serve requests."""
        return self._thread.is_alive() and self.failure is None

    @property
    def idle(self) -> bool:
        """Whether no request is waiting or running, and every result was handed over."""
        with self._condition:
            return self._waiting is None and self._serving is None

    @property
    def completed(self) -> int:
        """How many inferences have given a chunk."""
        return self._completed

    def longest_s(self) -> float:
        """The longer of the running and the last inference [s]."""
        since_ns = self._running_since_ns
        running_s = 0.0 if since_ns is None else seconds(time.monotonic_ns() - since_ns)
        return max(running_s, self._last_duration_s)

    def submit(self, request: InferenceRequest) -> None:
        """Ask for an inference; a request that has not begun is replaced."""
        with self._condition:
            self._waiting = request, self._policy
            self._condition.notify_all()

    def use(self, policy: Policy) -> None:
        """Serve later requests with another policy; those submitted so far keep theirs.

        Requests of this policy must have another epoch than those before.
        """
        with self._condition:
            self._policy = policy

    def wait_unused(self, policy: Policy, timeout_s: float) -> bool:
        """Wait up to `timeout_s` [s] until no request uses a policy that was replaced.

        Returns:
            Whether it is unused; then it will not be used again.
        """
        with self._condition:
            return self._condition.wait_for(lambda: not self._uses(policy), timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """End the thread, waiting for a running inference up to `timeout_s` [s].

        Returns:
            Whether it ended; if not, the policy is still in use.
        """
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _uses(self, policy: Policy) -> bool:
        waiting = None if self._waiting is None else self._waiting[1]
        return policy in (self._policy, self._serving, waiting)

    def _run(self) -> None:
        try:
            while self._serve_next():
                pass
        except Exception as error:  # noqa: BLE001  the owner re-raises it in its own thread
            self.failure = error

    def _serve_next(self) -> bool:
        """Wait for a request and serve it; False to end."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopped or self._waiting is not None)
            if self._stopped or self._waiting is None:
                return False
            request, policy = self._waiting
            self._waiting, self._serving = None, policy
        try:
            self._serve(request, policy)
        finally:
            with self._condition:
                self._serving = None
                self._condition.notify_all()
        return True

    def _serve(self, request: InferenceRequest, policy: Policy) -> None:
        if request.epoch != self._epoch:
            policy.reset()
            self._epoch = request.epoch
        begin_ns = time.monotonic_ns()
        self._running_since_ns = begin_ns
        chunk, problem = None, ""
        try:
            chunk = policy.infer(request.observation, request.prefix)
            self._completed += 1
        except (InferenceError, ObservationError) as error:
            problem = str(error)
        self._last_duration_s = seconds(time.monotonic_ns() - begin_ns)
        self._running_since_ns = None
        self._on_result(
            InferenceResult(
                request=request,
                policy=policy,
                duration_s=self._last_duration_s,
                graph_s=policy.graph_s,
                chunk=chunk,
                error=problem,
            )
        )

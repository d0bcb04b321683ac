# SPDX-License-Identifier: Apache-2.0
"""Hands operators' requests from service callbacks to the loop, and the replies back."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent import futures

from levine_policy_node.core.modes import Event
from levine_policy_node.core.supervision import Reply, Request

REPLY_TIMEOUT_S = 0.25
_QUEUED = 64


class OperatorRequests:
    """A queue of requests, each with a promise of its reply."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._queue: deque[Request] = deque(maxlen=_QUEUED)
        self._promises: dict[int, futures.Future[Reply]] = {}
        self._lock = threading.Lock()

    def ask(self, act: Event) -> Reply:
        """Queue an act and wait for its reply, one tick of the loop.

        The wait holds up the executor, so it is bounded by `REPLY_TIMEOUT_S`.
        """
        number = next(self._numbers)
        promise: futures.Future[Reply] = futures.Future()
        with self._lock:
            self._promises[number] = promise
        self._queue.append(Request(act, number))
        try:
            return promise.result(REPLY_TIMEOUT_S)
        except futures.TimeoutError:
            message = f"the control loop has not answered within {REPLY_TIMEOUT_S:g} s"
            return Reply(number, accepted=False, message=message)
        finally:
            with self._lock:
                self._promises.pop(number, None)

    def take(self) -> tuple[Request, ...]:
        """Every request since the last call; for the loop."""
        return tuple(self._queue.popleft() for _ in range(len(self._queue)))

    def reply(self, reply: Reply) -> None:
        """Answer one request; for the loop."""
        with self._lock:
            promise = self._promises.get(reply.number)
        if promise is not None:
            promise.set_result(reply)

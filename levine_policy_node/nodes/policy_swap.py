# SPDX-License-Identifier: Apache-2.0
"""Brings another policy into the executor's place of one, in a thread of its own.

`core/swap.py` decides; here its decisions are carried out. Loading, warming up, the shadow and the
freeing of what is not needed any more happen in the thread; only the switch itself, a few
assignments, happens where the executor offers it. ONNX Runtime releases the interpreter lock in
all of them. What becomes of a request is told on `policy/swap`.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.policy import Policy
from levine_policy_node.core.shadow import TellingMoments
from levine_policy_node.core.swap import (
    Action,
    Compared,
    End,
    Ending,
    Failed,
    Free,
    Load,
    Loaded,
    Moment,
    Phase,
    Requested,
    SwapEvent,
    SwapOptions,
    SwapState,
    Switch,
    obstacle,
    step,
    wants_shadow,
)
from levine_policy_node.errors import said
from levine_policy_node.nodes.policy_setup import PolicyExecutorParameters
from levine_policy_node.nodes.policy_shadow import PolicyShadow
from levine_policy_node.nodes.policy_slot import PolicySlot
from levine_policy_node.nodes.swap_news import SwapNews, SwapRequest
from levine_policy_node.robot import Robot
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.managed_node import ManagedNode
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.inference_worker import InferenceWorker
from levine_policy_node.runtime.memory import resident_mb, return_memory

_UNUSED_S = 0.5
_CLOSE_S = 10.0


class SwapHost(ManagedNode):
    """The node whose policy is swapped."""

    parameters: PolicyExecutorParameters
    robot: Robot

    def make_slot(self, bundle: Bundle) -> PolicySlot:
        """Load and warm up a verified bundle.

        Raises:
            BundleError: If it cannot run here.
        """
        raise NotImplementedError

    def use_slot(self, slot: PolicySlot) -> None:
        """Put a policy in the place of the active one."""
        raise NotImplementedError


class PolicySwap:
    """The swaps of one executor.

    Args:
        host: Whose swaps; `use_slot` is called in `moment`, `make_slot` in the thread.
        name: Of the policy that commands, as the parameter names it.
        slot: The policy that commands.
        worker: Runs it.
    """

    def __init__(
        self,
        host: SwapHost,
        name: str,
        slot: PolicySlot,
        worker: InferenceWorker,
    ) -> None:
        self._host = host
        self._worker = worker
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._state = SwapState()
        self._options = SwapOptions()
        self._requests = {0: SwapRequest(name, Future(), slot.bundle.source)}
        self._slots: dict[int, PolicySlot] = {0: slot}
        self._shadows: dict[int, PolicyShadow] = {}
        self._moments = TellingMoments()
        self._reason = ""
        self._in_shadow = False
        self._alive: weakref.WeakSet[Policy] = weakref.WeakSet([slot.policy])
        self._news = SwapNews(host)
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = False
        self._tell(0, Ending.DONE.value, log=False)
        self._thread = threading.Thread(target=self._run, name="policy_swap", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether nothing is asked for that has not been decided."""
        return self._state.candidate is None

    @property
    def waiting(self) -> bool:
        """Whether a candidate is ready to take over."""
        return self._state.phase is Phase.WAITING

    @property
    def active_name(self) -> str:
        """The active policy, as the parameter named it."""
        with self._lock:
            return self._requests[self._state.active].name

    def choose(self, options: SwapOptions) -> None:
        """Decide by these options from now on."""
        with self._lock:
            self._options = options

    def request(self, number: int, name: str, verified: Future[Bundle]) -> None:
        """Ask for a policy; `number` grows with each request."""
        with self._lock:
            self._requests[number] = SwapRequest(name, verified)
        self._apply(Requested(number))

    def moment(self, *, moving: bool, seam: bool) -> None:
        """Switch if a candidate is ready and this is the moment; nothing may infer or place."""
        moment = Moment(moving=moving, seam=seam)
        with self._lock:
            # A policy is used by one thread at a time.
            if not self._in_shadow:
                self._step(moment)
            number = self._state.candidate
            if number is not None and self._state.phase is Phase.WAITING:
                self._wait(number, obstacle(self._state, moment, self._options))

    def compare(self, observation: Observation, chunk: ActionChunk) -> None:
        """Let a candidate infer from what the active policy made `chunk` of."""
        with self._lock:
            self._moments.add(observation, chunk)
            number = self._state.candidate
            if number is None or self._in_shadow or not wants_shadow(self._state, self._options):
                return
            self._in_shadow = True
            self._tasks.put(partial(self._shadow, number, observation, chunk))

    def figures(self) -> dict[str, str | float]:
        """For diagnostics."""
        with self._lock:
            number = self._state.candidate
            text = self._state.phase.value
            if number is not None:
                text = f"{text} {self._requests[number].name} {self._reason}".rstrip()
        return {"swap": text, "policies": len(self._alive), "memory_mb": round(resident_mb(), 1)}

    def close(self) -> None:
        """End the thread and free a candidate; the active policy is the executor's."""
        self._closing = True
        self._tasks.put(None)
        self._thread.join(_CLOSE_S)
        while not self._tasks.empty():
            task = self._tasks.get()
            if isinstance(task, partial) and task.func == self._free:
                task()
        for number, slot in self._slots.items():
            if number != self._state.active and not self._thread.is_alive():
                slot.policy.close()
        self._news.close()

    def _apply(self, event: SwapEvent) -> None:
        with self._lock:
            self._step(event)

    def _step(self, event: SwapEvent) -> None:
        before = self._state
        self._state, actions = step(self._state, event, self._options)
        if self._state.phase is not before.phase:
            self._reason = ""
        for action in actions:
            self._act(action)
        number, phase = self._state.candidate, self._state.phase
        if number is not None and phase is not before.phase:
            self._tell(number, phase.value)

    def _act(self, action: Action) -> None:
        if isinstance(action, Switch):
            self._host.use_slot(self._slots[action.number])
        elif isinstance(action, Load):
            self._tasks.put(partial(self._load, action.number))
        elif isinstance(action, Free):
            self._tasks.put(partial(self._free, self._slots.pop(action.number)))
        else:
            self._tasks.put(partial(self._end, action))

    def _wait(self, number: int, reason: str) -> None:
        if reason != self._reason:
            told, self._reason = self._reason, reason
            # The figures in a reason change with every observation; that is no news for the log.
            news = reason.split(" ")[0] != told.split(" ")[0]
            self._tell(number, self._state.phase.value, reason, log=news)

    def _run(self) -> None:
        # As urgent as the others: it holds the interpreter lock now and then, and while it does
        # not get to run, whoever waits for the lock is late, the heartbeat among them.
        while (task := self._tasks.get()) is not None and not self._closing:
            task()
            del task  # It may hold the last reference to a policy.

    def _load(self, number: int) -> None:
        request = self._requests[number]
        request.figures["memory_before_mb"] = round(resident_mb(), 1)
        begin_s = time.monotonic()
        try:
            slot = self._host.make_slot(request.verified.result())
        except Exception as error:  # noqa: BLE001  whatever it does, the active policy stays
            self._apply(Failed(number, said(error)))
            return
        request.source = slot.bundle.source
        request.figures["load_s"] = round(time.monotonic() - begin_s, 3)
        request.figures["memory_both_mb"] = round(resident_mb(), 1)
        for remark in slot.remarks:
            self._host.get_logger().warning(remark)
        with self._lock:
            self._slots[number] = slot
            self._shadows = {number: PolicyShadow(slot, self._host.robot)}
            self._alive.add(slot.policy)
            self._step(Loaded(number))

    def _shadow(self, number: int, observation: Observation, chunk: ActionChunk) -> None:
        try:
            event = self._compared(number, observation, chunk)
        except Exception as error:  # noqa: BLE001  whatever it does, the active policy stays
            event = Failed(number, f"in shadow: {said(error)}")
        with self._lock:
            self._in_shadow = False
            if event is not None:
                self._step(event)

    def _compared(
        self, number: int, observation: Observation, chunk: ActionChunk
    ) -> SwapEvent | None:
        with self._lock:
            if number != self._state.candidate:
                return None
            shadow, active = self._shadows[number], self._slots[self._state.active]
            keep, moments = self._options.observations, self._moments.all()
        seen = shadow.sees(observation, active, ros_now(self._host))
        if isinstance(seen, Observation):
            if not shadow.figures:
                shadow.recall(moments)
            worst_rad = shadow.compare(seen, chunk, keep)
            self._requests[number].figures.update(shadow.figures)
            return Compared(number, worst_rad)
        with self._lock:
            if seen is not None and self._state.candidate == number:
                self._wait(number, f"no observation: {seen}")
        return None

    def _free(self, slot: PolicySlot) -> None:
        """Close a policy once the inference thread does not use it any more."""
        while not self._worker.wait_unused(slot.policy, _UNUSED_S):
            if self._closing or not self._worker.alive:
                return
        slot.policy.close()

    def _end(self, action: End) -> None:
        return_memory()
        with self._lock:
            request = self._requests[action.number]
            request.figures["memory_after_mb"] = round(resident_mb(), 1)
            request.figures["policies"] = len(self._alive)
            self._tell(action.number, action.ending.value, action.reason)
            kept = {self._state.active, self._state.candidate, self._state.queued}
            self._requests = {n: r for n, r in self._requests.items() if n in kept}
            self._shadows = {n: s for n, s in self._shadows.items() if n == self._state.candidate}

    def _tell(self, number: int, state: str, reason: str = "", *, log: bool = True) -> None:
        self._news.tell(number, self._requests[number], state, reason, log=log)

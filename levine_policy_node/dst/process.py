# SPDX-License-Identifier: Apache-2.0
"""A process that can be killed, stopped, continued and started again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from levine_policy_node.core.units import nanoseconds
from levine_policy_node.dst.scheduler import Scheduler
from levine_policy_node.dst.trace import Trace

# What the middleware keeps per subscription for a process that does not read.
_DEPTH = 10


class Process:
    """Timers and messages of one process; subclasses say what it does.

    A killed process loses everything. A stopped one (SIGSTOP, a deadlock, a starved processor)
    keeps its state; what arrives meanwhile waits in short queues, as in the middleware, and its
    timers fire late.
    """

    def __init__(self, name: str, scheduler: Scheduler, trace: Trace, host: str = "robot") -> None:
        self.name = name
        self.host = host
        self.scheduler = scheduler
        self.trace = trace
        self.alive = False
        self._life = 0
        self._stopped = False
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._late: list[Callable[[], None]] = []

    def boot(self) -> None:
        """Set up the state of a fresh process and its timers; subclasses fill this in."""
        raise NotImplementedError

    def start(self) -> None:
        """Start, with nothing remembered of an earlier life."""
        self._life += 1
        self.alive, self._stopped = True, False
        self._waiting, self._late = {}, []
        self._note("started")
        self.boot()

    def kill(self) -> None:
        """End at once, as SIGKILL does."""
        self.alive = False
        self._note("killed")

    def hang(self, for_s: float | None = None) -> None:
        """Stop, as SIGSTOP does; go on after `for_s` unless None."""
        self._stopped = True
        self._note("stopped")
        if for_s is not None:
            self.scheduler.after(for_s, self.resume)

    def resume(self) -> None:
        """Go on after a stop: first what arrived, then what is overdue."""
        if not self._stopped:
            return
        self._stopped = False
        self._note("continued")
        waiting, self._waiting = self._waiting, {}
        for queue in waiting.values():
            for deliver in queue:
                deliver()
        late, self._late = self._late, []
        for fire in late:
            fire()

    def receive(self, topic: str, deliver: Callable[[], None]) -> None:
        """Hand over a message; it is lost on a dead process and waits for a stopped one."""
        if not self.alive:
            return
        if self._stopped:
            self._waiting.setdefault(topic, deque(maxlen=_DEPTH)).append(deliver)
        else:
            deliver()

    def every(self, period_s: float, action: Callable[[], None], first_s: float = 0.0) -> None:
        """Call `action` every `period_s`, first after `first_s`; missed times are skipped."""
        period_ns, life = nanoseconds(period_s), self._life

        def fire(due_ns: int) -> None:
            if life != self._life or not self.alive:
                return
            if self._stopped:
                self._late.append(lambda: fire(due_ns))
                return
            action()
            late_ns = int(self.scheduler.now_ns) - due_ns
            next_ns = due_ns + (late_ns // period_ns + 1) * period_ns
            self.scheduler.at(next_ns, lambda: fire(next_ns))

        begin_ns = int(self.scheduler.now_ns) + nanoseconds(first_s)
        self.scheduler.at(begin_ns, lambda: fire(begin_ns))

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call `action` in `delay_s` if this life of the process lasts; late if it is stopped."""
        life = self._life

        def fire() -> None:
            if life != self._life or not self.alive:
                return
            if self._stopped:
                self._late.append(fire)
            else:
                action()

        self.scheduler.after(delay_s, fire)

    def _note(self, what: str) -> None:
        self.trace.add(self.scheduler.now_ns, "process", self.name, what)

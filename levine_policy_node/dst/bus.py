# SPDX-License-Identifier: Apache-2.0
"""A bus that delays, loses, repeats and reorders messages, and a network that can be cut."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from levine_policy_node.core.units import nanoseconds
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Link:
    """How a topic travels; shares are of the messages.

    Attributes:
        delay_s: Shortest time on the way [s].
        jitter_s: Mean of the exponential time beyond it [s].
        loss: Share that is lost.
        duplicate: Share that comes twice.
        reorder: Whether a message may overtake another; else it waits for the one before.
    """

    delay_s: float = 0.0003
    jitter_s: float = 0.0003
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: bool = False


@dataclass(slots=True)
class _Subscription:
    process: Process
    deliver: Callable[[Any], None]
    rng: random.Random
    newest_ns: int = 0


class Bus:
    """Topics between processes.

    Attributes:
        links: How each topic travels; `default` where it is not given.
        cut: Whether hosts do not reach each other.
    """

    def __init__(self, seed: str, scheduler: Scheduler, default: Link) -> None:
        self.default = default
        self.links: dict[str, Link] = {}
        self.cut = False
        self._seed = seed
        self._scheduler = scheduler
        self._subscriptions: dict[str, list[_Subscription]] = {}

    def subscribe(self, topic: str, process: Process, deliver: Callable[[Any], None]) -> None:
        """Deliver what is published on `topic` to a process, in all its lives."""
        rng = random.Random(f"{self._seed}/bus/{topic}/{process.name}")
        entry = _Subscription(process, deliver, rng)
        self._subscriptions.setdefault(topic, []).append(entry)

    def publish(self, sender: Process, topic: str, message: Any) -> None:
        """Send an immutable message to everybody who subscribes."""
        link = self.links.get(topic, self.default)
        for to in self._subscriptions.get(topic, []):
            away = sender.host != to.process.host
            if (self.cut and away) or to.rng.random() < link.loss:
                continue
            self._send(to, topic, message, link)
            if to.rng.random() < link.duplicate:
                self._send(to, topic, message, link)

    def _send(self, to: _Subscription, topic: str, message: Any, link: Link) -> None:
        jitter_s = to.rng.expovariate(1.0 / link.jitter_s) if link.jitter_s > 0.0 else 0.0
        arrives_ns = int(self._scheduler.now_ns) + nanoseconds(link.delay_s + jitter_s)
        if not link.reorder:
            arrives_ns = to.newest_ns = max(arrives_ns, to.newest_ns + 1)
        self._scheduler.at(
            arrives_ns, lambda: to.process.receive(topic, lambda: to.deliver(message))
        )

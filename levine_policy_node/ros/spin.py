# SPDX-License-Identifier: Apache-2.0
"""Run nodes' callbacks at a fraction of the executor's cost.

rclpy's executor builds a wait set of every entity of every node for each message it hands over:
0.7 ms of a 2.5 GHz core, four times what taking the message costs. Five streams at 30 to 100 Hz
then take a third of a core in each process. Here only subscriptions, services and clients are
waited for, in a wait set that is kept, and messages are taken straight from the subscriptions: a
message is handed over 0.3 ms after it was sent. The executor runs the rest: services and clients
as soon as they are asked or answered, timers, events and guard conditions now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from inspect import signature
from typing import Any, cast

from rclpy.executors import (
    ExternalShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.impl import implementation_singleton
from rclpy.node import Node

REST_S = 0.02
"""Longest time a timer, event or guard condition waits [s]."""

_MESSAGES_PER_TURN = 64
_HANDLERS_PER_REST = 64

# The module the executors of rclpy themselves are made of; it has no type information.
_rclpy = cast("Any", implementation_singleton).rclpy_implementation


class Spinner:
    """Runs every callback of some nodes in the calling thread.

    Args:
        nodes: They must be in one context, and stay until `spin` has returned. Subscriptions,
            services and clients may come and go in callbacks, but not in other threads.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)
        self._rest = SingleThreadedExecutor(context=self._nodes[0].context)
        for node in self._nodes:
            self._rest.add_node(node)
        self._waited: tuple[list[Any], ...] = ()
        self._parameters: list[int] = []
        self._wait_set: Any = None
        self._rest_due_s = 0.0

    def spin(self, stop: threading.Event) -> None:
        """Run until `stop` is set; what a callback raises is raised here.

        Raises:
            ExternalShutdownException: If the context is shut down meanwhile.
        """
        try:
            while not stop.is_set():
                self.turn(REST_S)
        finally:
            self.close()

    def turn(self, timeout_s: float) -> None:
        """Wait for messages, at most so long, and hand them over; run the rest if it is due.

        Raises:
            ExternalShutdownException: If the context is shut down.
        """
        if not self._nodes[0].context.ok():
            raise ExternalShutdownException
        self._take_messages(min(timeout_s, max(0.0, self._rest_due_s - time.monotonic())))
        if time.monotonic() >= self._rest_due_s:
            self._run_rest()
            self._rest_due_s = time.monotonic() + REST_S

    def close(self) -> None:
        """Let go of what is waited for; `spin` does so itself."""
        if self._wait_set is not None:
            self._wait_set.destroy_when_not_in_use()
        self._wait_set, self._waited = None, ()

    def _take_messages(self, timeout_s: float) -> None:
        """Wait for messages and hand them over."""
        subscriptions: list[Any] = [s for node in self._nodes for s in node.subscriptions]
        services: list[Any] = [s for node in self._nodes for s in node.services]
        clients: list[Any] = [c for node in self._nodes for c in node.clients]
        wait_set = self._wait_set_of(subscriptions, services, clients)
        wait_set.clear_entities()
        for subscription in subscriptions:
            wait_set.add_subscription(subscription.handle)
        for service in services:
            wait_set.add_service(service.handle)
        for client in clients:
            wait_set.add_client(client.handle)
        wait_set.wait(int(timeout_s * 1e9))
        if wait_set.get_ready_entities("service") or wait_set.get_ready_entities("client"):
            self._rest_due_s = 0.0
        ready = wait_set.get_ready_entities("subscription")
        due = [n for n, s in enumerate(subscriptions) if s.handle.pointer in ready]
        for number in due:
            _hand_over(subscriptions[number], self._parameters[number])

    def _wait_set_of(
        self, subscriptions: list[Any], services: list[Any], clients: list[Any]
    ) -> Any:
        waited = (subscriptions, services, clients)
        if waited != self._waited or self._wait_set is None:
            self.close()
            context = self._nodes[0].context.handle
            self._wait_set = _rclpy.WaitSet(
                len(subscriptions), 0, 0, len(clients), len(services), 0, context
            )
            self._waited = waited
            self._parameters = [len(signature(s.callback).parameters) for s in subscriptions]
        return self._wait_set

    def _run_rest(self) -> None:
        for _ in range(_HANDLERS_PER_REST):
            try:
                ready = self._rest.wait_for_ready_callbacks(timeout_sec=0)
            except TimeoutException:
                return
            handler = ready[0]
            handler()
            error = handler.exception()
            if error is not None:
                raise error


def _hand_over(subscription: Any, parameters: int) -> None:
    """Run the callback with every message that is there, if it is still wanted.

    As with rclpy's executor, a callback of two parameters gets the MessageInfo too.
    """
    for _ in range(_MESSAGES_PER_TURN):
        try:
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        except _rclpy.InvalidHandle:
            return
        if taken is None:
            return
        subscription.callback(*taken[:parameters])

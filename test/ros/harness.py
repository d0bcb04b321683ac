# SPDX-License-Identifier: Apache-2.0
"""What tests of real nodes share: an isolated graph, waiting on conditions, node processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from levine_policy_node.transports import loopback_udp

DOMAINS = range(1, 101)
_UNMATCHED_S = 4.0


@contextlib.contextmanager
def isolated_domain() -> Iterator[int]:
    """Reserve a ROS domain nobody else on this machine is testing in, and export it.

    Without Fast DDS's shared memory: with it each process that joins may hold up the others.
    """
    start = os.getpid() * 7
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(start + offset) % len(DOMAINS)]
        path = Path(tempfile.gettempdir()) / f"levine_test_domain_{domain}.lock"
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            wanted = {
                "ROS_DOMAIN_ID": str(domain),
                **loopback_udp(),
            }
            before = {name: os.environ.get(name) for name in wanted}
            os.environ.update(wanted)
            try:
                yield domain
            finally:
                for name, value in before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
            return
    raise RuntimeError("every ROS test domain is taken")


def spin_until(
    nodes: Sequence[Node],
    predicate: Callable[[], bool],
    timeout_s: float = 10.0,
    what: str = "the condition",
) -> None:
    """Spin `nodes` until `predicate` holds; fail with a message after `timeout_s`.

    Raises:
        AssertionError: If the condition does not become true in time.
    """
    executor = SingleThreadedExecutor(context=nodes[0].context)
    for node in nodes:
        executor.add_node(node)
    deadline = time.monotonic() + timeout_s
    try:
        while not predicate():
            if time.monotonic() > deadline:
                raise AssertionError(f"after {timeout_s:g} s still waiting for {what}")
            executor.spin_once(timeout_sec=0.02)
    finally:
        for node in nodes:
            executor.remove_node(node)
        executor.shutdown()


def wait_until(
    predicate: Callable[[], bool], timeout_s: float = 10.0, what: str = "the condition"
) -> None:
    """Wait without spinning; see `spin_until`."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:g} s still waiting for {what}")
        threading.Event().wait(0.01)


class NodeProcess:
    """One node as its own process, `python -m levine_policy_node.nodes.<name>`."""

    def __init__(
        self,
        name: str,
        *,
        parameters: dict[str, Any] | None = None,
        params_file: Path | str | None = None,
        namespace: str = "",
        ros_args: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.name = name
        if name == "safety_supervisor":
            # Stops are written only where a test wants to read them.
            parameters = {"black_box_root": "''", **(parameters or {})}
        arguments = ["--ros-args"]
        if params_file is not None:
            arguments += ["--params-file", str(params_file)]
        for key, value in (parameters or {}).items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{key}:={text}"]
        if namespace:
            arguments += ["-r", f"__ns:={namespace}"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in end()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", f"levine_policy_node.nodes.{name}", *arguments, *ros_args],
            stdin=stdin,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def output(self) -> str:
        """Everything printed so far, stdout and stderr together."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def send(self, number: int) -> None:
        """Send a signal to the process itself (SIGKILL, SIGSTOP, ...)."""
        os.kill(self.popen.pid, number)

    def wait(self, timeout_s: float = 10.0) -> int:
        """Wait for the process to end by itself and return its exit code."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {timeout_s:g} s; it printed:\n{self.output()}"
            ) from None

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Send SIGTERM and return the exit code."""
        if self.alive:
            self.send(number)
        return self.wait(timeout_s)

    def end(self) -> None:
        """Kill whatever is left of the process and its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(10)
        if not self._log.closed:
            self._log.close()


@dataclass
class Graph:
    """One isolated ROS graph: test nodes in this process, real nodes as processes.

    Attributes:
        node: The test's own node, for publishers, subscriptions and clients.
    """

    domain: int
    node: Node
    processes: list[NodeProcess] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def add(self, node: Node) -> Node:
        """Spin this node too, and destroy it at the end."""
        self.nodes.append(node)
        return node

    def remove(self, node: Node) -> None:
        """Destroy a node that was added."""
        self.nodes.remove(node)
        node.destroy_node()

    def start(self, name: str, **options: Any) -> NodeProcess:
        """Start a node process (see `NodeProcess`); it ends with the test."""
        process = NodeProcess(name, **options)
        self.processes.append(process)
        return process

    def spin_until(
        self,
        predicate: Callable[[], bool],
        timeout_s: float = 10.0,
        what: str = "the condition",
    ) -> None:
        """Spin the test's nodes; on failure show what the node processes printed."""
        try:
            spin_until([self.node, *self.nodes], predicate, timeout_s, what)
        except AssertionError as error:
            printed = [
                f"--- {p.name} ({'alive' if p.alive else f'exit {p.popen.returncode}'})\n"
                f"{p.output()[-3000:]}"
                for p in self.processes
            ]
            raise AssertionError("\n".join([str(error), *printed])) from None

    def spin_for(self, duration_s: float) -> None:
        """Keep receiving for a while; to observe a rate or that nothing comes."""
        end = time.monotonic() + duration_s
        self.spin_until(lambda: time.monotonic() >= end, duration_s + 5.0)

    def collect(self, kind: type[Any], topic: str, qos: Any) -> list[Any]:
        """Subscribe; the returned list grows as messages arrive."""
        received: list[Any] = []
        self.node.create_subscription(kind, topic, received.append, qos)
        return received

    def publisher(self, kind: type[Any], topic: str, qos: Any, readers: int = 1) -> Any:
        """Create a publisher and wait until `readers` subscriptions match it."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.spin_until(
            lambda: publisher.get_subscription_count() >= readers, 20.0, f"readers of {topic}"
        )
        return publisher

    def client(self, node: Node, kind: type[Any], service: str, timeout_s: float = 20.0) -> Client:
        """A client of a service that exists.

        Fast DDS was seen not to connect one within 15 s, and the next at once.
        """
        made = [node.create_client(kind, service)]
        renew_s = [time.monotonic() + _UNMATCHED_S]

        def ready() -> bool:
            if time.monotonic() > renew_s[0]:
                renew_s[0] += _UNMATCHED_S
                node.destroy_client(made.pop())
                made.append(node.create_client(kind, service))
            return made[0].service_is_ready()

        self.spin_until(ready, timeout_s, f"the service {service}")
        return made[0]

    def call(self, kind: type[Any], service: str, request: Any, timeout_s: float = 20.0) -> Any:
        """Call a service once it exists and return the response."""
        client = self.client(self.node, kind, service, timeout_s)
        future = client.call_async(request)
        self.spin_until(future.done, timeout_s, f"the reply of {service}")
        self.node.destroy_client(client)
        return future.result()


@contextlib.contextmanager
def ros_graph(ros_args: Sequence[str] = ()) -> Iterator[Graph]:
    """A fresh default context in a domain of its own; ends every process and node.

    Nodes of the package may be made in this process too: the default context is initialised with
    `ros_args` (for example `["--ros-args", "-p", "policy_executor:rate_hz:=5.0"]`).
    """
    with isolated_domain() as domain:
        rclpy.init(
            args=list(ros_args),
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        # Without the global arguments: a parameter for any node must not reach this one.
        graph = Graph(domain, Node("test", use_global_arguments=False))
        try:
            yield graph
        finally:
            for node in [*graph.nodes, graph.node]:
                node.destroy_node()
            rclpy.try_shutdown()
            for process in graph.processes:
                process.end()

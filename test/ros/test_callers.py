# SPDX-License-Identifier: Apache-2.0
"""Only the nodes that the parameter `operators` names can have the arm moved."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from harness import ros_graph
from rclpy.client import Client
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger
from supervisor_bench import Bench

TOWARDS_MOTION = ("arm", "engage", "resume", "reset", "home", "takeover")
LESS = ("disarm", "pause", "stop")


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with ros_graph() as graph:
        bench = Bench(graph, operators=["test", "rollout"])
        yield bench
        bench.script.close()


@pytest.fixture
def bench(shared: Bench) -> Bench:
    return shared.refresh()


@pytest.fixture
def stranger(bench: Bench) -> Iterator[Node]:
    node = bench.ros.add(Node("stranger", use_global_arguments=False))
    yield node
    bench.ros.remove(node)


def client_of(bench: Bench, node: Node, act: str) -> Client:
    return bench.ros.client(node, SetBool if act == "takeover" else Trigger, f"supervisor/{act}")


def call(bench: Bench, client: Client) -> tuple[bool, str]:
    request = client.srv_type.Request()
    if client.srv_type is SetBool:
        request.data = True
    future = client.call_async(request)
    bench.spin_until(future.done, f"the reply of {client.srv_name}")
    return future.result().success, future.result().message


def test_a_stranger_who_calls_at_random_moves_nothing_and_may_stop(bench, stranger):
    bench.script.policy_on = True
    clients = {act: client_of(bench, stranger, act) for act in (*TOWARDS_MOTION, *LESS)}
    rng = random.Random(0)
    for _ in range(100):
        act = rng.choice(TOWARDS_MOTION)
        granted, why = call(bench, clients[act])
        assert not granted
        assert "stranger could have called" in why
        assert "only rollout, test may (parameter operators)" in why
    assert bench.mode == "DISARMED"
    assert not bench.script.windows
    bench.spin_until(lambda: len(bench.said("CALLER_REFUSED")) > 50, "the events")
    assert call(bench, clients["stop"])[0]
    bench.until("PSTOP")


def test_those_who_are_named_may_once_the_stranger_is_gone(bench, stranger):
    client = client_of(bench, stranger, "arm")
    assert not call(bench, client)[0]
    # Who of the two it was, a request does not say.
    assert "stranger" in bench.ask("arm")[1]
    stranger.destroy_client(client)
    bench.engage()
    late = client_of(bench, stranger, "stop")
    assert call(bench, late)[0]
    bench.until("PSTOP")

# SPDX-License-Identifier: Apache-2.0
"""What was counted while the machine was held up is told apart from the rest, over real DDS."""

from __future__ import annotations

import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import Graph, ros_graph
from rclpy.node import Node

from levine_policy_node.bench.calm_time import CalmTime, Counted
from levine_policy_node.ros import qos
from levine_policy_node.ros.diagnostics import diagnostics_to_msg


class Tellers:
    """The two nodes that tell counters, and how late the machine is."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.late_s = 0.0
        self.supervisor = graph.add(Node("safety_supervisor"))
        self.arm = graph.add(Node("sim_arm"))
        self.calm = CalmTime(graph.node, lambda since_s: self.late_s)
        kind = DiagnosticArray
        self.publisher = graph.publisher(kind, "/diagnostics", qos.DIAGNOSTICS)

    def tell(self, missed: int, violations: int, late: int) -> float:
        """Publish a second's counters; returns when they were heard."""
        before_s = time.monotonic()
        values = {"limit_violations": str(violations), "late": str(late)}
        self.publisher.publish(diagnostics_to_msg(self.supervisor, {"missed_ticks": str(missed)}))
        self.publisher.publish(diagnostics_to_msg(self.arm, values))
        self.graph.spin_until(lambda: self.calm.told_s > before_s, what="the counters")
        return time.monotonic()


@pytest.fixture
def tellers():
    with ros_graph() as graph:
        yield Tellers(graph)


def test_what_is_counted_while_nothing_is_held_up_is_all_calm(tellers):
    begin_s = tellers.tell(5, 7, 3)
    end_s = tellers.tell(6, 9, 3)
    calm, span = tellers.calm, [(begin_s, end_s)]
    assert calm.missed_ticks(span) == Counted(1, 0)
    assert calm.limit_violations(span) == Counted(2, 0)
    assert calm.was_calm(span[0])
    assert calm.is_calm()
    assert calm.held_up_share(span) == 0.0
    assert calm.missed_ticks([(end_s + 1.0, end_s + 2.0)]) == Counted()


def test_a_machine_that_was_held_up_excuses_both(tellers):
    begin_s = tellers.tell(0, 0, 0)
    tellers.late_s = 0.02
    end_s = tellers.tell(4, 8, 0)
    tellers.late_s = 0.0
    after_s = tellers.tell(5, 8, 0)
    calm, span = tellers.calm, [(begin_s, after_s)]
    assert calm.missed_ticks(span) == Counted(1, 4)
    assert calm.limit_violations(span) == Counted(0, 8)
    assert not calm.was_calm((begin_s, end_s))
    assert calm.was_calm((after_s, after_s))
    assert calm.held_up_share(span) == 0.5


def test_an_arm_that_was_late_excuses_no_tick(tellers):
    begin_s = tellers.tell(0, 0, 0)
    span = [(begin_s, tellers.tell(2, 3, 1))]
    calm = tellers.calm
    assert calm.missed_ticks(span) == Counted(2, 0)
    assert calm.limit_violations(span) == Counted(0, 3)
    assert not calm.is_calm()

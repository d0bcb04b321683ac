# SPDX-License-Identifier: Apache-2.0
"""The spinner runs everything an executor would, and ends when told."""

import threading

import pytest
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from levine_policy_node.ros import qos, spin
from levine_policy_node.ros.spin import Spinner


class Everything(Node):
    """One of each: subscription, timer, service and guard condition."""

    def __init__(self):
        super().__init__("everything")
        self.heard, self.sent, self.ticks, self.guarded = [], [], 0, 0
        self.done = threading.Event()
        self.create_subscription(String, "words", self._on_word, qos.EVENTS)
        self.create_subscription(String, "words", self._on_word_sent, qos.EVENTS)
        self.create_timer(0.01, self._on_timer)
        self.create_service(Trigger, "ask", self._on_ask)
        self.guard = self.create_guard_condition(self._on_guard)

    def _on_word(self, message):
        if message.data == "fail":
            raise RuntimeError("a callback failed")
        self.heard.append(message.data)

    def _on_word_sent(self, message, info):
        self.sent.append((message.data, info["source_timestamp"]))

    def _on_timer(self):
        self.ticks += 1

    def _on_ask(self, request, response):
        del request
        response.success = True
        return response

    def _on_guard(self):
        self.guarded += 1
        self.done.set()


@pytest.fixture
def spinning(ros):
    node, stop, errors = Everything(), threading.Event(), []

    def run():
        try:
            Spinner([node]).spin(stop)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    yield ros, node, errors
    stop.set()
    thread.join(10.0)
    assert not thread.is_alive()
    node.destroy_node()


def test_every_kind_of_callback_runs(spinning):
    ros, node, errors = spinning
    words = ros.publisher(String, "words", qos.EVENTS)
    for number in range(20):
        words.publish(String(data=str(number)))
    ros.spin_until(lambda: len(node.heard) == 20, what="every message")
    assert node.heard == [str(number) for number in range(20)]
    ros.spin_until(lambda: len(node.sent) == 20, what="every message with its time")
    times = [time_ns for _, time_ns in node.sent]
    assert times == sorted(times)
    assert times[0] > 0
    ros.spin_until(lambda: node.ticks > 5, what="the timer")
    assert ros.call(Trigger, "ask", Trigger.Request()).success
    node.guard.trigger()
    assert node.done.wait(10.0)
    assert not errors


def test_who_asks_does_not_wait_for_the_rest(monkeypatch, spinning):
    ros, node, _ = spinning
    assert ros.call(Trigger, "ask", Trigger.Request()).success
    monkeypatch.setattr(spin, "REST_S", 4.0)
    ticks = node.ticks
    for _ in range(3):
        assert ros.call(Trigger, "ask", Trigger.Request()).success
    # Each answer runs whatever else is due, and nothing runs the timer otherwise.
    assert node.ticks <= ticks + 8


def test_what_a_callback_raises_ends_the_spinning(spinning):
    ros, _, errors = spinning
    ros.publisher(String, "words", qos.EVENTS).publish(String(data="fail"))
    ros.spin_until(lambda: bool(errors), what="the error")
    assert errors == ["a callback failed"]

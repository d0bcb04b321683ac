# SPDX-License-Identifier: Apache-2.0
"""Floods, lost messages, nonsense, and what controllers and the environment say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from harness import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.ros.controller_topics import inactive_text, installed_type
from levine_policy_node.ros.domain import domain_id, open_graph_warning
from levine_policy_node.ros.effort_messages import efforts_from_bytes
from levine_policy_node.ros.message_guard import MessageGuard
from levine_policy_node.ros.messages import MessageError, timeline_from_bytes


def info(number: int, sender: int = 1) -> dict[str, object]:
    return {
        "publication_sequence_number": number,
        "publisher_gid": {"data": bytes([sender]) * 16},
    }


def test_lost_messages_of_a_flood_are_counted_too(ros: Graph):
    guard, taken = MessageGuard(ros.node), []
    take = guard.guarded("estop", 100.0, lambda message, _: taken.append(message), thinned=False)
    for number in (1, 2, 3):
        take(number, info(number))
    assert guard.flood() == ""
    # The queue kept one of five hundred.
    take(503, info(503))
    assert guard.flood() == "estop: more than 300 messages per second"
    assert taken == [1, 2, 3, 503]


def test_what_is_beyond_the_rate_is_not_handed_on(ros: Graph):
    guard, taken = MessageGuard(ros.node), []
    take = guard.guarded("x", 10.0, lambda message, _: taken.append(message))
    for number in range(1, 200):
        take(number, info(number, sender=number % 50))
    assert len(taken) < 100
    assert guard.flood()


def test_a_message_that_is_refused_is_counted(ros: Graph):
    guard = MessageGuard(ros.node)

    def refuse(message: object, _: object) -> None:
        raise MessageError("no")

    take = guard.guarded("joint_states", 100.0, refuse)
    for number in (1, 2):
        take(None, info(number))
    assert guard.refused == {"joint_states": 2}


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda data: b"\x00\x01\x00\x00" + data),
        st.integers(0, 2**32 - 1).map(
            lambda n: b"\x00\x01\x00\x00" + bytes(12) + n.to_bytes(4, "little") * 4
        ),
    )
)
def test_no_bytes_do_more_than_be_refused(data):
    for read in (timeline_from_bytes, efforts_from_bytes):
        with pytest.raises(MessageError):
            read(data, ("a", "b"))


def test_what_is_too_large_is_not_even_read():
    with pytest.raises(MessageError, match="300000 bytes"):
        timeline_from_bytes(bytes(300_000), ("a",))


def test_a_controller_is_inactive_as_its_manager_says():
    def named(name: str, label: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, state=SimpleNamespace(label=label))

    both = [named("arm_controller", "active"), named("other", "inactive")]
    assert inactive_text(both, "left/arm_controller") == ""
    assert inactive_text(both, "other") == "other is inactive"
    assert inactive_text(both, "third") == "the controller manager knows no third"


def test_types_that_are_not_installed_are_no_error():
    assert installed_type("no_such_msgs.msg", "Anything") is None
    assert installed_type("std_msgs.msg", "NoSuchMessage") is None


@pytest.mark.parametrize(
    ("environment", "domain", "warns"),
    [
        ({}, "0", True),
        ({"ROS_DOMAIN_ID": "0", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "0", True),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost"}, "0", False),
        ({"ROS_LOCALHOST_ONLY": "1"}, "0", False),
        ({"ROS_DOMAIN_ID": "42"}, "42", False),
    ],
)
def test_the_domain_that_everybody_uses_is_said_aloud(environment, domain, warns):
    assert domain_id(environment) == domain
    assert bool(open_graph_warning(environment)) is warns

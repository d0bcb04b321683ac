# SPDX-License-Identifier: Apache-2.0
"""The security policy: in the form `ros2 security` reads, and only the supervisor commands."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from levine_policy_node.cli.main import main
from levine_policy_node.errors import ConfigError
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import security
from levine_policy_node.sros2 import ENCLAVES, command_topic, enclave_path, policy_xml

HOLD = str(Path(__file__).parent.parent / "data" / "bundles" / "hold")
SHIPPED = sorted((share_directory() / "config" / "sros2").glob("*.policy.xml"))
ROBOTS = ("sim_so101", "sim_so101_effort", "so101", "fr3")

# The rules of policy.xsd 0.2.0 of sros2: children with how many there must be, and attributes.
RULE = {"ALLOW", "DENY"}
ELEMENTS = {
    "policy": ({"enclaves"}, {"version": {"0.2.0"}}, set()),
    "enclaves": ({"enclave"}, {}, set()),
    "enclave": ({"profiles"}, {"path": None}, set()),
    "profiles": ({"profile"}, {}, {"type"}),
    "profile": ({"topics", "services", "actions"}, {"ns": None, "node": None}, set()),
    "topics": ({"topic"}, {}, {"publish", "subscribe"}),
    "services": ({"service"}, {}, {"reply", "request"}),
    "topic": (set(), {}, set()),
    "service": (set(), {}, set()),
}


def check(element: ET.Element) -> None:
    """Fail unless the schema of sros2 would accept the element."""
    children, required, optional = ELEMENTS[element.tag]
    names = {child.tag for child in element}
    assert names <= children, f"{element.tag} may not hold {names - children}"
    assert bool(children) == bool(len(element)) or element.tag == "profile"
    assert set(required) <= set(element.attrib) <= set(required) | optional
    for name, values in required.items():
        assert values is None or element.attrib[name] in values
    assert all(element.attrib[name] in RULE for name in optional & set(element.attrib))
    assert children or (element.text or "").strip()
    for child in element:
        check(child)


def writers(policy: ET.Element, topic: str) -> set[str]:
    """Enclaves that may publish `topic`, also by a *."""
    return {
        enclave.attrib["path"]
        for enclave in policy.iter("enclave")
        for group in enclave.iter("topics")
        if group.get("publish") == "ALLOW"
        for name in group.iter("topic")
        if name.text == topic or "*" in (name.text or "")
    }


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("namespace", ["", "/lab/left"])
def test_only_the_supervisor_may_command_a_controller(name, namespace):
    robot = load_robot(name)
    policy = ET.fromstring(policy_xml(robot, namespace))
    check(policy)
    supervisor = enclave_path("safety_supervisor", namespace)
    assert writers(policy, command_topic(robot)) == {supervisor}
    for enclave in policy.iter("enclave"):
        for profile in enclave.iter("profile"):
            denied = {
                topic.text
                for group in profile.iter("topics")
                if group.get("publish") == "DENY"
                for topic in group
            }
            mine = enclave.attrib["path"] == supervisor
            assert denied == (set() if mine else {command_topic(robot)})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_policies_are_the_present_ones(path):
    assert path.read_text() == policy_xml(load_robot(path.name.split(".")[0]))


def test_policies_are_shipped():
    assert SHIPPED


def test_every_process_has_keys_of_its_own():
    base = GraphOptions("sim_so101", HOLD, simulate=True, namespace="lab")
    for split in (False, True):
        options = dataclasses.replace(base, split_runtime=split)
        for process in build_graph(options):
            assert ENCLAVES[process.executable] == process.nodes
            arguments = process.ros_arguments(options)
            place = arguments[arguments.index("--enclave") + 1]
            assert place == f"/lab/levine/{process.executable}"


def test_the_command_writes_the_file(tmp_path):
    path = tmp_path / "keys" / "policy.xml"
    assert main(["sros2", "--robot", "so101", "--output", str(path)]) == 0
    check(ET.fromstring(path.read_text()))


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"ROS_SECURITY_ENABLE": "1"}, "ROS_SECURITY_ENABLE"),
        ({"ROS_SECURITY_ENABLE": "true"}, "ROS_SECURITY_STRATEGY"),
        (
            {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Permissive"},
            "ROS_SECURITY_STRATEGY",
        ),
        (
            {
                "ROS_SECURITY_ENABLE": "true",
                "ROS_SECURITY_STRATEGY": "Enforce",
                "ROS_SECURITY_KEYSTORE": "/nowhere",
            },
            "ROS_SECURITY_KEYSTORE",
        ),
    ],
)
def test_what_would_run_unsecured_is_refused(monkeypatch, variables, named):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(security, "_has_plugin", lambda: True)
    with pytest.raises(ConfigError, match=f"^{named}"):
        security.require_security()

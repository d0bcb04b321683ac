# SPDX-License-Identifier: Apache-2.0
"""Who may say what: the SROS2 policy, in which only the supervisor commands a controller.

Every process has keys of its own (an enclave) that permit what its nodes do and nothing else. A
test compares this table with what the nodes really create. `levine sros2` writes the file;
docs/security.md says what to do with it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass

from levine_policy_node.robot import Robot

POLICY_VERSION = "0.2.0"
OPERATOR = "operator"
"""Enclave of what acts for a person: the node `operator`, `levine demo`, `eval`, ..."""

ENCLAVES: Mapping[str, tuple[str, ...]] = {
    "safety_supervisor": ("safety_supervisor",),
    "policy_runtime": ("camera_ingest", "policy_executor"),
    "camera_ingest": ("camera_ingest",),
    "policy_executor": ("policy_executor",),
    "intervention_recorder": ("intervention_recorder",),
    "sim_arm": ("sim_arm",),
    OPERATOR: ("calibrate", "operator", "rollout", "swap"),
}
"""The nodes of each process."""

_PARAMETERS = (
    "~/describe_parameters",
    "~/get_parameter_types",
    "~/get_parameters",
    "~/get_type_description",
    "~/list_parameters",
    "~/set_parameters",
    "~/set_parameters_atomically",
)
_LIFECYCLE = (
    "~/change_state",
    "~/get_available_states",
    "~/get_available_transitions",
    "~/get_state",
    "~/get_transition_graph",
)


@dataclass(frozen=True, slots=True)
class Access:
    """What one node may do; names are relative to its namespace, and * matches anything.

    Attributes:
        publish: Topics it writes.
        subscribe: Topics it reads.
        reply: Services it has.
        request: Services it calls.
    """

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reply: tuple[str, ...] = ()
    request: tuple[str, ...] = ()


def enclave_path(name: str, namespace: str = "") -> str:
    """Where the keys of a process are, below `enclaves` in the keystore."""
    parts = [part for part in namespace.split("/") if part]
    return "/" + "/".join([*parts, "levine", name])


def command_topic(robot: Robot) -> str:
    """What the robot's controller obeys."""
    controller = robot.controller
    kind = "joint_trajectory" if controller.type == "joint_trajectory" else "commands"
    return f"{controller.name}/{kind}"


def access_of(robot: Robot) -> dict[str, Access]:
    """What each node may do."""
    frames = _frames(robot)
    devices = tuple(
        f"camera/{name}/image" for name, camera in robot.cameras.items() if not camera.topic
    )
    supervisor = tuple(f"supervisor/{name}" for name in ("mode", "proposal", "command", "events"))
    alive = "supervisor/heartbeat"
    chunks = ("policy/action_chunk", "policy/raw_chunk", "policy/inference")
    reference = f"{robot.controller.name}/reference"
    access = {
        "safety_supervisor": Access(
            publish=(command_topic(robot), *supervisor, alive),
            subscribe=(
                "joint_states", chunks[0], "policy/heartbeat", "policy/problem",
                "operator/target", "estop", "enable", reference,
                f"{robot.controller.name}/controller_state", "controller_manager/activity",
            ),
            reply=("supervisor/*",),
        ),
        "policy_executor": Access(
            publish=(
                *chunks, "policy/heartbeat", "policy/problem", "policy/swap",
                "~/transition_event",
            ),
            subscribe=("joint_states", "supervisor/mode", alive, "task", "goal", *frames),
            reply=_LIFECYCLE,
        ),
        "camera_ingest": Access(
            publish=(*devices, "~/transition_event"), subscribe=frames, reply=_LIFECYCLE
        ),
        "intervention_recorder": Access(
            publish=("~/transition_event",),
            subscribe=(
                "joint_states", *chunks, "policy/problem", "operator/target",
                "operator/twist", "operator/pose", "operator/gripper", "operator/dead_man",
                *supervisor, "task", "goal", "reward", "robot_description", *frames,
            ),
            reply=("recorder/*", *_LIFECYCLE),
        ),
        "sim_arm": _simulated(robot),
        **dict.fromkeys(ENCLAVES[OPERATOR], _operator(robot)),
    }  # fmt: skip
    return {name: _with_any_node(own) for name, own in access.items()}


def _frames(robot: Robot) -> tuple[str, ...]:
    cameras = robot.cameras.items()
    return tuple(camera.topic or f"camera/{name}/image" for name, camera in cameras)


def _simulated(robot: Robot) -> Access:
    """What stands in for the controller, the joints and the cameras."""
    return Access(
        publish=(
            "joint_states", "sim/episode", "robot_description", "goal", "camera/view/image",
            f"{robot.controller.name}/reference", *_frames(robot),
        ),
        subscribe=(command_topic(robot),),
        reply=("sim/*",),
    )  # fmt: skip


def _operator(robot: Robot) -> Access:
    return Access(
        publish=("operator/target", "estop", "task", "goal"),
        subscribe=(
            "joint_states", "supervisor/*", "policy/*", "sim/episode", "robot_description",
            "camera/view/image", "operator/*", "leader/*", *_frames(robot),
        ),
        request=("supervisor/*", "recorder/*", "sim/*", "*/set_parameters"),
    )  # fmt: skip


def policy_xml(robot: Robot, namespace: str = "") -> str:
    """The policy of one robot, for `ros2 security generate_artifacts`."""
    root = ET.Element("policy", version=POLICY_VERSION)
    enclaves = ET.SubElement(root, "enclaves")
    access, command = access_of(robot), command_topic(robot)
    for name, nodes in ENCLAVES.items():
        enclave = ET.SubElement(enclaves, "enclave", path=enclave_path(name, namespace))
        profiles = ET.SubElement(enclave, "profiles")
        for node in nodes:
            space = "/" + namespace.strip("/")
            profile = ET.SubElement(profiles, "profile", ns=space, node=node)
            _fill(profile, access[node], command)
    ET.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<!-- Made by `levine sros2` for {robot.name}; docs/security.md says how to use it. -->\n"
        f"{ET.tostring(root, encoding='unicode')}\n"
    )


def _with_any_node(access: Access) -> Access:
    return Access(
        (*access.publish, "/diagnostics", "/rosout", "/parameter_events"),
        (*access.subscribe, "/diagnostics", "/clock", "/parameter_events"),
        (*access.reply, *_PARAMETERS),
        access.request,
    )


def _fill(profile: ET.Element, access: Access, command: str) -> None:
    if command not in access.publish:
        # What is not allowed is denied anyway; this holds even beside an allowed *.
        _rule(profile, "topic", {"publish": "DENY"}, (command,))
    _rule(profile, "topic", {"publish": "ALLOW"}, access.publish)
    _rule(profile, "topic", {"subscribe": "ALLOW"}, access.subscribe)
    _rule(profile, "service", {"reply": "ALLOW"}, access.reply)
    _rule(profile, "service", {"request": "ALLOW"}, access.request)


def _rule(
    profile: ET.Element, kind: str, qualifier: dict[str, str], names: tuple[str, ...]
) -> None:
    if names:
        group = ET.SubElement(profile, f"{kind}s", qualifier)
        for name in sorted(set(names)):
            ET.SubElement(group, kind).text = name

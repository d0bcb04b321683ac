# SPDX-License-Identifier: Apache-2.0
"""The supervisor as it ships, for a robot of this package."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.core.surroundings import ControllerOptions
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot, parse_yaml_mapping

_FILE = "config/safety_supervisor.param.yaml"


@lru_cache
def shipped_options(robot_name: str) -> SupervisorOptions:
    """Robot file and parameter file together, as `nodes/supervisor_setup.py` puts them.

    Raises:
        LevineError: If there is no such robot.
    """
    robot = load_robot(robot_name)
    path = share_directory() / _FILE
    document = parse_yaml_mapping(path.read_bytes(), str(path))
    values = next(iter(document.values()))["ros__parameters"]
    own = {field.name for field in fields(SupervisorOptions)}
    return SupervisorOptions(
        limits=robot.limits(),
        home=robot.home_position(),
        exempt=~robot.arm_joints(),
        tick_s=1.0 / values["control_rate_hz"],
        contact_effort=robot.contact_effort(),
        controller=ControllerOptions(values["reference_timeout_s"], values["reference_tolerance"]),
        **{name: value for name, value in values.items() if name in own},
    )

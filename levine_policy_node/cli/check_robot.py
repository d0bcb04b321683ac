# SPDX-License-Identifier: Apache-2.0
"""`levine check-robot FILE`: validate a robot file and show what it says."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.errors import ConfigError, SystemDependencyError
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.runtime.collision_model import collision_model
from levine_policy_node.urdf import find_urdf, hand_problems, read_urdf, urdf_problems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine check-robot`."""
    parser.add_argument("file", metavar="FILE", help="robot file: a path or a shipped name")


def run(options: argparse.Namespace) -> int:
    """Check the file and its URDF; every problem is one line on standard error."""
    try:
        robot = load_robot(options.file)
    except ConfigError as error:
        write_json(options.json, {"valid": False, "problems": [str(error)]})
        raise
    problems = _check_urdf(robot)
    write_json(options.json, _results(robot, problems))
    print(_describe(robot))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"\n{robot.path}: " + (f"{len(problems)} problem(s)" if problems else "valid"))
    return EXIT_FAILED if problems else EXIT_OK


def _check_urdf(robot: Robot) -> list[str]:
    try:
        urdf = find_urdf(robot)
        problems = [*urdf_problems(robot, read_urdf(urdf)), *hand_problems(robot, urdf)]
        if not problems:
            collision_model(robot)
        return [str(problem) for problem in problems]
    except (ConfigError, SystemDependencyError) as error:
        return [str(error)]


def _margins(robot: Robot) -> str:
    joints = robot.joints.items()
    own = [f"{name}: {j.position_margin:g}" for name, j in joints if j.position_margin is not None]
    return f"{robot.position_margin:g}" + (f" ({', '.join(own)})" if own else "")


def _hand(robot: Robot) -> list[str]:
    hand = robot.hand
    if hand is None:
        return []
    lines = [
        f"  hand        {hand.frame} in {hand.base}, within {hand.position_tolerance:g} m and "
        f"{hand.rotation_tolerance:g} rad"
    ]
    if hand.limits is not None:
        stars: dict[str, str] = dict.fromkeys(hand.limits.placeholder, "*")
        given = hand.limits.model_dump(exclude_none=True, exclude={"source", "placeholder"})
        says = (f"{name}{stars.get(name, '')} {value}" for name, value in given.items())
        lines.append(f"  its limits  {'; '.join(says)}")
    return lines


def _collision(robot: Robot) -> list[str]:
    collision = robot.collision
    if collision is None:
        return []
    star = "*" if collision.placeholder else ""
    places = ", ".join(collision.keep_out) or "nothing"
    return [
        f"  collision   {len(collision.shapes)} links{star}, kept out of {places}, margin "
        f"{collision.margin:g} m ({collision.source})"
    ]


def _describe(robot: Robot) -> str:
    controller = robot.controller
    timeout_s = controller.command_timeout_s
    silence = "" if timeout_s is None else f", brakes by itself {timeout_s:g} s after the last"
    parts = [
        f"{robot.name} (model {robot.model}): {robot.description}",
        f"  urdf        {robot.urdf}",
        f"  controller  {controller.name} ({controller.type}), actuation delay "
        f"{controller.actuation_delay_s:g} s",
        f"  takes       {controller.interface}s{silence}",
        f"  margin      commands stay {_margins(robot)} inside the position limits",
        *_hand(robot),
        *_collision(robot),
        "",
        _joint_table(robot),
        "",
        "  * a placeholder: chosen, not published; have it confirmed before the arm moves fast",
        "",
        _camera_table(robot),
        "",
        "Where the limits come from:",
        *_sources(robot),
    ]
    return "\n".join(parts)


def _joint_table(robot: Robot) -> str:
    rows: list[list[str]] = []
    for name, joint in robot.joints.items():
        star = dict.fromkeys(joint.placeholder, "*")
        rows.append(
            [
                name,
                joint.role,
                f"{joint.position[0]:g} .. {joint.position[1]:g}{star.get('position', '')}",
                f"{robot.home[name]:g}",
                f"{joint.velocity:g}{star.get('velocity', '')}",
                f"{joint.acceleration:g}{star.get('acceleration', '')}",
                f"{joint.jerk:g}{star.get('jerk', '')}",
                "-" if joint.effort is None else f"{joint.effort:g}{star.get('effort', '')}",
            ]
        )
    header = ["joint", "role", "position [rad]", "home", "velocity", "accel.", "jerk", "effort"]
    return format_table(header, rows)


def _camera_table(robot: Robot) -> str:
    rows = [
        [
            name,
            camera.topic or camera.device or "",
            f"{camera.width} x {camera.height}",
            f"{camera.rate_hz:g}",
            "JPEG" if camera.compressed else "raw",
            f"{camera.capture_delay_s:g}",
        ]
        for name, camera in robot.cameras.items()
    ]
    return format_table(["camera", "source", "size", "rate [Hz]", "form", "delay [s]"], rows)


def _sources(robot: Robot) -> list[str]:
    """One line per source, with the joints it is for, since most joints share them."""
    joints: dict[tuple[str, str], list[str]] = {}
    for name, joint in robot.joints.items():
        for limit, source in joint.source.items():
            joints.setdefault((limit, source), []).append(name)
    count = len(robot.joints)
    width = max(13, *(len(limit) for limit, _ in joints))
    return [
        f"  {limit:<{width}} {source}" + (f" ({', '.join(names)})" if len(names) < count else "")
        for (limit, source), names in joints.items()
    ]


def _results(robot: Robot, problems: list[str]) -> dict[str, Any]:
    document = robot.model_dump(mode="json", exclude={"sha256", "path"})
    return {
        "valid": not problems,
        "problems": problems,
        "file": str(robot.path),
        "sha256": robot.sha256,
        "placeholders": list(robot.placeholders()),
        **document,
    }

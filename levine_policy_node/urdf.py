# SPDX-License-Identifier: Apache-2.0
"""The robot's URDF: where it is, and whether the robot file asks for more than it allows."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from levine_policy_node.errors import ConfigError
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import Robot

# A URDF rounds its limits to a few digits, or to a degree's.
_TOLERANCE = 1e-4
_MOVING = ("revolute", "prismatic", "continuous")


@dataclass(frozen=True, slots=True)
class UrdfJoint:
    """What a URDF says of one joint, in [rad] and [s] ([m] for a prismatic joint).

    A limit it does not state is None.
    """

    kind: str
    lower: float | None = None
    upper: float | None = None
    velocity: float | None = None
    effort: float | None = None


def find_urdf(robot: Robot) -> Path:
    """Find the file named by the robot file's `urdf`.

    A relative name is looked for beside the robot file, then in the package's `urdf/`.

    Raises:
        ConfigError: If it is in neither place.
    """
    # Joining an absolute path gives that path, once.
    places = (robot.path.parent, share_directory() / "urdf")
    candidates = list(dict.fromkeys(place / robot.urdf for place in places))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(
        str(robot.path),
        "urdf",
        f"{robot.urdf} does not exist (looked for {' and '.join(map(str, candidates))})",
        "Give the path of the arm's URDF",
    )


def read_urdf(path: Path) -> dict[str, UrdfJoint]:
    """Read the joints of a URDF by name.

    Raises:
        ConfigError: If it is not a plain URDF.
    """
    joints = _parsed(path).findall("joint")
    return {element.get("name", ""): _read_joint(path, element) for element in joints}


def hand_problems(robot: Robot, path: Path) -> list[ConfigError]:
    """List the frames of the robot file's `hand` that the URDF has not."""
    if robot.hand is None:
        return []
    links = [element.get("name", "") for element in _parsed(path).findall("link")]
    named = {"hand.frame": robot.hand.frame, "hand.base": robot.hand.base}
    known = f"It has {', '.join(links)}"
    return [
        ConfigError(str(robot.path), field, f"{name} is not a link of the URDF", known)
        for field, name in named.items()
        if name not in links
    ]


def hand_joints(robot: Robot) -> tuple[str, ...]:
    """The joints between the hand's base and its frame, those near the base first.

    Raises:
        ConfigError: If the robot file has no hand, its frames are not connected in the URDF, or a
            joint in between is not in the robot file.
    """
    if robot.hand is None:
        raise ConfigError(
            str(robot.path), "hand", "is missing", "Say which frame of the URDF is the hand"
        )
    path = find_urdf(robot)
    above: dict[str, ElementTree.Element] = {}
    for joint in _parsed(path).findall("joint"):
        child = joint.find("child")
        above["" if child is None else child.get("link", "")] = joint
    names: list[str] = []
    link = robot.hand.frame
    while link != robot.hand.base:
        joint = above.pop(link, None)
        parent = None if joint is None else joint.find("parent")
        if joint is None or parent is None:
            raise ConfigError(
                str(robot.path),
                "hand",
                f"no joints lead from {robot.hand.base} to {robot.hand.frame} in the URDF",
                "Correct hand.frame or hand.base",
            )
        if joint.get("type") in _MOVING:
            names.append(joint.get("name", ""))
        link = parent.get("link", "")
    unknown = [name for name in names if name not in robot.joints]
    if unknown or not names:
        problem = f"joint(s) {', '.join(unknown)} that move it are not in the robot file"
        raise ConfigError(str(robot.path), "hand", problem if unknown else "no joint moves it")
    return tuple(reversed(names))


def _parsed(path: Path) -> ElementTree.Element:
    if path.suffix == ".xacro":
        raise ConfigError(str(path), "", "is xacro", f"Expand it: xacro {path} > {path.stem}")
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(str(path), "", f"cannot be read as XML ({error})") from error
    if root.tag != "robot":
        raise ConfigError(str(path), "", f"is not a URDF: its root is <{root.tag}>, not <robot>")
    return root


def _read_joint(path: Path, element: ElementTree.Element) -> UrdfJoint:
    kind = element.get("type", "")
    limit = element.find("limit")
    if limit is None:
        return UrdfJoint(kind)
    # A continuous joint has a limit element for speed and effort only.
    ranged = ("lower", "upper") if kind != "continuous" else ()
    values: dict[str, float | None] = {}
    for name in (*ranged, "velocity", "effort"):
        text = limit.get(name)
        try:
            values[name] = float(text) if text is not None else None
        except ValueError as error:
            field = f"joint {element.get('name')}.limit.{name}"
            raise ConfigError(str(path), field, f"expected a number, found '{text}'") from error
    return UrdfJoint(kind, **values)


def urdf_problems(robot: Robot, joints: Mapping[str, UrdfJoint]) -> list[ConfigError]:
    """List where the robot file names other joints, or wider limits, than the URDF."""
    problems: list[ConfigError] = []
    for name in robot.joint_names:
        model = joints.get(name)
        field = f"joints.{name}"
        if model is None or model.kind not in _MOVING:
            moving = ", ".join(n for n, j in joints.items() if j.kind in _MOVING) or "none"
            found = "is not in the URDF" if model is None else f"is {model.kind} in the URDF"
            problems.append(
                ConfigError(str(robot.path), field, found, f"Joints that move there: {moving}")
            )
            continue
        problems += _wider_limits(robot, name, model)
    return problems


def _wider_limits(robot: Robot, name: str, model: UrdfJoint) -> Iterator[ConfigError]:
    joint = robot.joints[name]
    lower, upper = joint.position
    # The sign says on which side of the URDF's limit is wider.
    limits = (
        ("position", lower, model.lower, -1),
        ("position", upper, model.upper, 1),
        ("velocity", joint.velocity, model.velocity, 1),
        ("effort", joint.effort, model.effort, 1),
    )
    for field, own, allowed, sign in limits:
        if own is not None and allowed is not None and sign * (own - allowed) > _TOLERANCE:
            yield ConfigError(
                str(robot.path),
                f"joints.{name}.{field}",
                f"{own:g} is wider than the URDF's {allowed:g}",
                "Narrow it, or correct the URDF",
            )

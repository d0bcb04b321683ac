# SPDX-License-Identifier: Apache-2.0
# pyright: reportUnknownMemberType=false
"""The shapes of a robot file on the frames of its URDF, and which of them may meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import Robot
from levine_policy_node.robot_collision import (
    Box,
    Capsule,
    Collision,
    HalfSpace,
    Place,
    ignored,
    margin_between,
)
from levine_policy_node.urdf import find_urdf

_ROOT = 0
_CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bodies that may meet.

    Attributes:
        names: Links, or a link and a place.
        margin: How near they may come [m].
        reach: How far they move against each other per joint, at most (J,) [m/rad].
    """

    names: tuple[str, str]
    margin: float
    reach: FloatArray


@dataclass(frozen=True, slots=True)
class _Body:
    """One shape: the hull of balls of one radius around points in its joint's frame (N, 3)."""

    name: str
    added: int
    joint: int
    points: FloatArray
    radius: float


class Bodies:
    """A robot's URDF for pinocchio, with shapes.

    Attributes:
        model: Only the joints of the robot file move.
        order: Which joint of the robot file each of the model's is, shape (J,).
        geometry: Shapes and the pairs that are checked, once `pairs` was called.
    """

    def __init__(self, pin: Any, coal: Any, robot: Robot) -> None:
        self._pin, self._coal, self._robot = pin, coal, robot
        self._source = str(robot.path)
        self.model: Any = self._moving_model()
        self._parents: list[int] = list(self.model.parents)
        self._names: list[str] = list(self.model.names)
        self._columns = [-1, *(robot.joint_names.index(name) for name in self._names[1:])]
        self.order = np.array(self._columns[1:], dtype=np.intp)
        self.geometry: Any = pin.GeometryModel()

    def pairs(self, collision: Collision) -> Iterator[Pair]:
        """Register every pair to be checked."""
        links = [
            self._add(f"collision.shapes.{name}", name, name, shape)
            for name, shapes in collision.shapes.items()
            for shape in shapes
        ]
        self.standing(collision.base, "collision.base")
        places = [
            self._add("", collision.base, name, place.shape)
            for name, place in collision.keep_out.items()
        ]
        for a, b in itertools.combinations([*links, *places], 2):
            # A place is adjacent to nothing: the first link may well fold onto the table.
            near = b.name in collision.shapes and self._adjacent(a.joint, b.joint)
            if a.joint == b.joint or near or ignored(collision, a.name, b.name):
                continue
            self.geometry.addCollisionPair(self._pin.CollisionPair(a.added, b.added))
            margin = margin_between(collision, a.name, b.name)
            yield Pair((a.name, b.name), margin, self._between(a, b))

    def frame(self, link: str, field: str) -> int:
        """Number of a link's frame.

        Raises:
            ConfigError: If the URDF has no such link.
        """
        if not self.model.existFrame(link):
            raise ConfigError(self._source, field, f"'{link}' is not a link of the URDF")
        return int(self.model.getFrameId(link))

    def standing(self, link: str, field: str) -> tuple[FloatArray, FloatArray]:
        """Origin and axes in the URDF's root of a link that no joint moves.

        Raises:
            ConfigError: If a joint moves it.
        """
        found = self.model.frames[self.frame(link, field)]
        if found.parentJoint != _ROOT:
            problem = f"'{link}' is moved by {self._names[found.parentJoint]}"
            raise ConfigError(self._source, field, problem, "Name a link that stands still")
        return found.placement.translation.copy(), found.placement.rotation.copy()

    def hand_reach(self, frame: int) -> FloatArray:
        """How far a frame moves per joint, at most (J,) [m/rad]."""
        found = self.model.frames[frame]
        point = found.placement.translation[None].copy()
        return self._reach(_Body("", -1, found.parentJoint, point, 0.0))

    def _moving_model(self) -> Any:
        pin, path, joints = self._pin, find_urdf(self._robot), self._robot.joints
        try:
            model = pin.buildModelFromXML(path.read_text())
        except (ValueError, RuntimeError) as error:
            detail = " ".join(str(error).split())[:200]
            raise ConfigError(str(path), "", f"pinocchio cannot read it ({detail})") from error
        fixed = [i for i, name in enumerate(model.names) if i > 0 and name not in joints]
        reduced = pin.buildReducedModel(model, fixed, pin.neutral(model))
        if not reduced.nq == reduced.nv == len(joints):
            raise ConfigError(
                str(path),
                "",
                "has not every joint of the robot file as one with a single position",
                "Give its continuous joints limits and make them revolute",
            )
        return reduced

    def _adjacent(self, one: int, other: int) -> bool:
        return self._parents[one] == other or self._parents[other] == one

    def _add(self, field: str, link: str, name: str, shape: Place) -> _Body:
        """Register one shape; the field is for errors."""
        pin, count = self._pin, len(self.geometry.geometryObjects)
        frame = self.model.frames[self.frame(link, field)]
        solid, at, points, radius = self._solid(shape)
        placement = frame.placement * at
        thing = pin.GeometryObject(f"{name}#{count}", frame.parentJoint, placement, solid)
        moved = points @ placement.rotation.T + placement.translation
        return _Body(
            name, self.geometry.addGeometryObject(thing), frame.parentJoint, moved, radius
        )

    def _solid(self, shape: Place) -> tuple[Any, Any, FloatArray, float]:
        """The shape for coal, where it is in its link, and the hull that it is, in itself."""
        pin, coal = self._pin, self._coal
        if isinstance(shape, Box):
            at = pin.SE3(pin.rpy.rpyToMatrix(*shape.rpy), np.array(shape.centre))
            return coal.Box(*shape.size), at, _CORNERS * shape.size, 0.0
        if isinstance(shape, Capsule):
            begin, end = np.array(shape.begin), np.array(shape.end)
            length = float(np.linalg.norm(end - begin))
            turn = pin.Quaternion.FromTwoVectors(_UP, (end - begin) / length).toRotationMatrix()
            at = pin.SE3(turn, 0.5 * (begin + end))
            ends = np.array([-0.5 * length * _UP, 0.5 * length * _UP])
            return coal.Capsule(shape.radius, length), at, ends, shape.radius
        if isinstance(shape, HalfSpace):
            # It stands still, so how far it reaches does not count.
            normal = np.array(shape.normal) / np.linalg.norm(shape.normal)
            solid = coal.Halfspace(normal, shape.offset)
            return solid, pin.SE3.Identity(), np.zeros((1, 3)), 0.0
        at = pin.SE3(np.eye(3), np.array(shape.centre))
        return coal.Sphere(shape.radius), at, np.zeros((1, 3)), shape.radius

    def _between(self, a: _Body, b: _Body) -> FloatArray:
        """How far two bodies move against each other per joint: what moves both moves neither."""
        chains = [set(self._chain(body.joint)) for body in (a, b)]
        row = np.zeros(len(self.order))
        for body, own, other in ((a, *chains), (b, *reversed(chains))):
            columns = [self._columns[joint] for joint in own - other]
            row[columns] += self._reach(body)[columns]
        return row

    def _reach(self, body: _Body) -> FloatArray:
        """How far a body moves per joint, at most (J,) [m/rad].

        That is its largest distance from the joint's axis in any position of the joints behind:
        the distance of the next joint from the axis, and from there the lengths of the links.
        """
        row = np.zeros(len(self.order))
        points = body.points
        beyond = float(np.max(np.linalg.norm(points, axis=1))) + body.radius
        rest = body.radius
        for joint in self._chain(body.joint):
            sliding, axis = self._motion(joint)
            away = float(np.max(np.linalg.norm(np.cross(points, axis), axis=1)))
            row[self._columns[joint]] = away + rest
            if np.any(sliding != 0.0):
                row[self._columns[joint]] = float(np.linalg.norm(sliding))
                beyond += max(np.abs(self._robot.joints[self._names[joint]].position))
            points = self.model.jointPlacements[joint].translation[None]
            rest, beyond = beyond, beyond + float(np.linalg.norm(points))
        return row

    def _motion(self, joint: int) -> tuple[FloatArray, FloatArray]:
        """What one unit of a joint does in its own frame: translation and rotation, (3,) each."""
        kind = self.model.joints[joint]
        data = kind.createData()
        kind.calc(data, np.zeros(self.model.nq))
        subspace = np.asarray(data.S, dtype=np.float64).reshape(6)
        return subspace[:3], subspace[3:]

    def _chain(self, joint: int) -> Iterator[int]:
        """A joint and those before it, up to the root, which is none."""
        while joint != _ROOT:
            yield joint
            joint = self._parents[joint]

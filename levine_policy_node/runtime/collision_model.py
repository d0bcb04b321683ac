# SPDX-License-Identifier: Apache-2.0
# pyright: reportUnknownMemberType=false
"""Distances between an arm's bodies and its surroundings, by pinocchio and coal.

One instance serves several threads: each has its own working memory.
"""

from __future__ import annotations

import importlib
import math
import threading
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ConfigError, SystemDependencyError
from levine_policy_node.robot import Robot
from levine_policy_node.robot_collision import Workspace, guards_motion
from levine_policy_node.runtime.collision_bodies import Bodies

_distance = attrgetter("min_distance")


@dataclass(frozen=True, slots=True)
class _Memory:
    """What one thread works in."""

    data: Any
    geometry: Any
    results: list[Any]


def collision_model(robot: Robot) -> CollisionModel | None:
    """What the robot file asks to be checked; None if it asks for nothing.

    Raises:
        ConfigError: If the file does not fit the URDF, or the arm at home is too near something.
        SystemDependencyError: If pinocchio or coal is not installed.
    """
    limits = None if robot.hand is None else robot.hand.limits
    return CollisionModel(robot) if guards_motion(robot.collision, limits) else None


class CollisionModel:
    """Implements `core.collision_rules.Obstacles` for one robot file.

    Attributes:
        margins: Least distance of each pair (P,) [m].
        reach: How far a pair moves against each other per joint, at most (P, J) [m/rad].
        hand_reach: The same of the hand (J,).
        tool_speed: Largest speed of the hand [m/s].
        names: Of each pair.
    """

    def __init__(self, robot: Robot) -> None:
        self._pin, coal = _libraries()
        bodies = Bodies(self._pin, coal, robot)
        self._model = bodies.model
        self._order = bodies.order
        self._geometry = bodies.geometry
        self._threads = threading.local()
        hand = robot.hand
        limits = None if hand is None else hand.limits
        speed = None if limits is None else limits.tool_speed
        self.tool_speed: float = math.inf if speed is None else speed
        self._workspace: Workspace | None = None if limits is None else limits.workspace
        pairs = [] if robot.collision is None else list(bodies.pairs(robot.collision))
        self.names = [pair.names for pair in pairs]
        margins, rows = [pair.margin for pair in pairs], [pair.reach for pair in pairs]
        self.hand_reach: FloatArray = np.zeros(len(robot.joint_names))
        if hand is not None:
            self._frame = bodies.frame(hand.frame, "hand.frame")
            self._base = bodies.standing(hand.base, "hand.base")
            self.hand_reach = bodies.hand_reach(self._frame)
        if self._workspace is not None:
            self.names.append(("the hand", "its workspace"))
            margins.append(0.0)
            rows.append(self.hand_reach)
        self.margins: FloatArray = np.array(margins)
        self.reach: FloatArray = np.array(rows).reshape(len(rows), len(robot.joint_names))
        self._check_home(robot)

    def distances(self, position: FloatArray) -> FloatArray:
        """Signed distance of each pair (P,) [m] at joint positions (J,) [rad]."""
        model, memory = self._model, self._memory()
        joints, count = position[self._order], len(memory.results)
        found = np.empty(len(self.names))
        if count:
            self._pin.computeDistances(model, memory.data, self._geometry, memory.geometry, joints)
            found[:count] = list(map(_distance, memory.results))
        else:
            self._pin.forwardKinematics(model, memory.data, joints)
        if self._workspace is not None:
            place = self._hand_place(memory.data)
            found[count] = min(
                float(np.min(place - self._workspace.lower)),
                float(np.min(self._workspace.upper - place)),
            )
        return found

    def hand_speed(self, position: FloatArray, velocity: FloatArray) -> float:
        """Speed of the hand [m/s] at joint positions and velocities (J,) each."""
        pin, model, data = self._pin, self._model, self._memory().data
        pin.forwardKinematics(model, data, position[self._order], velocity[self._order])
        return float(np.linalg.norm(pin.getFrameVelocity(model, data, self._frame).linear))

    def say(self, pair: int, distance: float) -> str:
        """What it means that a pair is at a distance, for people."""
        one, other = self.names[pair]
        if self._workspace is not None and pair == len(self.names) - 1:
            return f"{one} would leave {other} ({distance * 1e3:.0f} mm inside)"
        margin_mm = self.margins[pair] * 1e3
        return (
            f"{one} and {other} would be {distance * 1e3:.1f} mm apart (margin {margin_mm:g} mm)"
        )

    def _memory(self) -> _Memory:
        memory: _Memory | None = getattr(self._threads, "memory", None)
        if memory is None:
            geometry = self._pin.GeometryData(self._geometry)
            # References into the vector, which never grows: to index it is dearer than a distance.
            found = geometry.distanceResults
            results = [found[i] for i in range(len(found))]
            memory = _Memory(self._model.createData(), geometry, results)
            self._threads.memory = memory
        return memory

    def _hand_place(self, data: Any) -> FloatArray:
        placement = self._pin.updateFramePlacement(self._model, data, self._frame)
        origin, axes = self._base
        return axes.T @ (placement.translation - origin)

    def _check_home(self, robot: Robot) -> None:
        distances = self.distances(robot.home_position())
        room = distances - self.margins
        if not (room >= 0.0).all():
            worst = int(np.argmin(room))
            raise ConfigError(
                str(robot.path),
                "home",
                f"there {self.say(worst, float(distances[worst]))}",
                "Correct the shapes, or name the pair under collision.ignore if it cannot touch",
            )


def _libraries() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pinocchio"), importlib.import_module("coal")
    except ImportError as error:
        raise SystemDependencyError(
            "the robot file's collision or hand.limits cannot be checked without the packages "
            f"pinocchio and coal ({error}). Install them: pip install "
            "'levine_policy_node[collision]' (or: pip install pin coal)"
        ) from error

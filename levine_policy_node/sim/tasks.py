# SPDX-License-Identifier: Apache-2.0
"""The tasks: pick up the cube and drop it into the bin, or bring the hand to a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from levine_policy_node.core.observation import Goal
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import UnknownNameError
from levine_policy_node.sim.arm import HOME_POSITION, SimArm
from levine_policy_node.sim.kinematics import ArmKinematics
from levine_policy_node.sim.scene import JOINT_NAMES

BASE_FRAME = "base_link"
"""What goals are in; the simulation's own frame."""

BIN_CENTRE = np.array([0.17, 0.16])
"""Centre of the bin on the table (2,) [m], as in assets/scene.xml."""

CUBE_HALF_SIZE = 0.0175
"""[m]"""

_BIN_HALF_SIZE = 0.051
_BIN_WALL_HEIGHT = 0.045
_CUBE_LOW, _CUBE_HIGH = np.array([0.17, -0.13]), np.array([0.25, 0.03])
_CUBE_YAW = 0.35
_HOME_NOISE = 0.02
_SETTLE_S = 0.1
_RELEASED_GRIPPER = 0.55
_GRIPPER = JOINT_NAMES.index("gripper")

_GOAL_LOW, _GOAL_HIGH = np.array([0.15, -0.15, 0.08]), np.array([0.27, 0.15, 0.18])
_REACHED_M, _FURTHER_M = 0.02, 0.06
_AT_REST_RAD_S = 0.1
_OUT_OF_THE_WAY = np.array([0.0, -0.35, 0.0175])


class Task(Protocol):
    """Seeded start states and the verdict; reads the simulation's ground truth."""

    @property
    def horizon_s(self) -> float:
        """Time for an episode, from when the arm may move [s]; callers keep it."""
        ...

    @property
    def goal(self) -> Goal | None:
        """What a policy is told; None if the scene says all."""
        ...

    def reset(self, arm: SimArm, seed: int) -> None:
        """Start an episode from `seed`."""
        ...

    def succeeded(self, arm: SimArm) -> bool:
        """Whether the task is done."""
        ...

    def failed(self, arm: SimArm) -> bool:
        """Whether the episode cannot be won any more."""
        ...


class PickPlaceTask:
    """Seeded start states and the verdict; reads the simulation's ground truth.

    Attributes:
        horizon_s: Time for an episode, from when the arm may move [s]; callers keep it.
    """

    horizon_s = 15.0
    goal: Goal | None = None

    def reset(self, arm: SimArm, seed: int) -> None:
        """Start an episode: cube somewhere on the table, arm near home, all from `seed`."""
        rng = np.random.default_rng(seed)
        place = rng.uniform(_CUBE_LOW, _CUBE_HIGH)
        yaw = float(rng.uniform(-_CUBE_YAW, _CUBE_YAW))
        arm.reset(seed, _near_home(rng))
        arm.place_object("cube", np.array([*place, CUBE_HALF_SIZE]), yaw)
        arm.advance(_SETTLE_S)

    def succeeded(self, arm: SimArm) -> bool:
        """Whether the cube lies in the bin and the hand has let go of it."""
        return cube_in_bin(cube_position(arm)) and is_open(arm) and not holds_cube(arm)

    def failed(self, arm: SimArm) -> bool:
        """Whether the episode cannot be won any more: the cube is out of reach."""
        x, y, _ = cube_position(arm)
        return bool(x < 0.12 or x > 0.33 or abs(y) > 0.25)


class ReachTask:
    """Bring the point between the jaws to a place in the air, and rest there.

    Attributes:
        horizon_s: See `Task`.
        goal: The place of the episode.
    """

    horizon_s = 4.0

    def __init__(self) -> None:
        self._kinematics = ArmKinematics()
        self.goal: Goal | None = None

    def reset(self, arm: SimArm, seed: int) -> None:
        """Start an episode: a place above the table, arm near home, all from `seed`."""
        rng = np.random.default_rng(seed)
        home = self._kinematics.grasp_point(np.array(HOME_POSITION))
        place = home
        while np.linalg.norm(place - home) < _FURTHER_M:
            place = rng.uniform(_GOAL_LOW, _GOAL_HIGH)
        self.goal = Goal(BASE_FRAME, place)
        arm.reset(seed, _near_home(rng))
        arm.place_object("cube", _OUT_OF_THE_WAY, 0.0)
        arm.advance(_SETTLE_S)

    def succeeded(self, arm: SimArm) -> bool:
        """Whether the hand is within 2 cm of the place and nearly at rest."""
        if self.goal is None:
            return False
        reading = arm.joint_reading()
        apart = self._kinematics.grasp_point(reading.position) - self.goal.position
        slow = bool(np.max(np.abs(reading.velocity)) < _AT_REST_RAD_S)
        return slow and bool(np.linalg.norm(apart) < _REACHED_M)

    def failed(self, arm: SimArm) -> bool:
        """Nothing is ever lost."""
        del arm
        return False


TASKS: dict[str, type[PickPlaceTask | ReachTask]] = {
    "pick_place": PickPlaceTask,
    "reach": ReachTask,
}


@dataclass(frozen=True, slots=True)
class Episodes:
    """Which episodes to run.

    Attributes:
        seeds: One episode each.
        task: Name of the task.
    """

    seeds: Sequence[int]
    task: str = "pick_place"


def make_task(name: str) -> Task:
    """A task by its name.

    Raises:
        UnknownNameError: If there is no such task.
    """
    if name not in TASKS:
        raise UnknownNameError("simulation", "task", name, TASKS)
    return TASKS[name]()


def _near_home(rng: np.random.Generator) -> FloatArray:
    """A start position (6,) [rad]."""
    start = np.array(HOME_POSITION)
    start[:_GRIPPER] += rng.uniform(-_HOME_NOISE, _HOME_NOISE, _GRIPPER)
    return start


def cube_position(arm: SimArm) -> FloatArray:
    """Centre of the cube in the base frame (3,) [m]; ground truth, never an observation."""
    return arm.data.body("cube").xpos.copy()


def cube_in_bin(cube: FloatArray) -> bool:
    """Whether a cube centred at `cube` (3,) [m] lies between the walls of the bin."""
    inside = bool(np.all(np.abs(cube[:2] - BIN_CENTRE) < _BIN_HALF_SIZE))
    return inside and bool(cube[2] < _BIN_WALL_HEIGHT)


def cube_yaw(arm: SimArm) -> float:
    """Turn of the cube about z, in [-pi/4, pi/4) because its sides look alike [rad]."""
    turn = arm.data.body("cube").xmat
    yaw = np.arctan2(turn[3], turn[0])
    return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def holds_cube(arm: SimArm) -> bool:
    """Whether both jaws touch the cube."""
    cube = arm.model.geom("cube").id
    jaws = {arm.model.body("gripper").id, arm.model.body("moving_jaw").id}
    pairs = arm.data.contact.geom[: arm.data.ncon]
    touching = pairs[np.any(pairs == cube, axis=1)]
    return jaws <= {int(body) for body in arm.model.geom_bodyid[touching].flat}


def is_open(arm: SimArm) -> bool:
    """Whether the gripper is open wider than the cube."""
    return bool(arm.data.joint("gripper").qpos[0] > _RELEASED_GRIPPER)

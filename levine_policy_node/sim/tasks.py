# SPDX-License-Identifier: Apache-2.0
"""The task: pick up the cube and drop it into the bin."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.sim.arm import HOME_POSITION, SimArm
from levine_policy_node.sim.scene import JOINT_NAMES

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


class PickPlaceTask:
    """Seeded start states and the verdict; reads the simulation's ground truth.

    Attributes:
        horizon_s: Time for an episode, from when the arm may move [s]; callers keep it.
    """

    horizon_s = 15.0

    def reset(self, arm: SimArm, seed: int) -> None:
        """Start an episode: cube somewhere on the table, arm near home, all from `seed`."""
        rng = np.random.default_rng(seed)
        place = rng.uniform(_CUBE_LOW, _CUBE_HIGH)
        yaw = float(rng.uniform(-_CUBE_YAW, _CUBE_YAW))
        start = np.array(HOME_POSITION)
        start[:_GRIPPER] += rng.uniform(-_HOME_NOISE, _HOME_NOISE, _GRIPPER)
        arm.reset(seed, start)
        arm.place_object("cube", np.array([*place, CUBE_HALF_SIZE]), yaw)
        arm.advance(_SETTLE_S)

    def succeeded(self, arm: SimArm) -> bool:
        """Whether the cube lies in the bin and the hand has let go of it."""
        return cube_in_bin(cube_position(arm)) and is_open(arm) and not holds_cube(arm)

    def failed(self, arm: SimArm) -> bool:
        """Whether the episode cannot be won any more: the cube is out of reach."""
        x, y, _ = cube_position(arm)
        return bool(x < 0.12 or x > 0.33 or abs(y) > 0.25)


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

# SPDX-License-Identifier: Apache-2.0
"""Where the hand of the Franka Research 3 is, and where a step takes it.

Read from the URDF with the standard library, so that the oracles depend on nothing they are
compared with. Rotations are matrices, (3, 3); poses are x y z qx qy qz qw in the base frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

JOINTS = (*(f"fr3_joint{n}" for n in range(1, 8)), "fr3_finger_joint1")
HOME = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785, 0.03)
FRAME, BASE = "fr3_hand_tcp", "base"
OPENED, CLOSED = 0.04, 0.0
"""Of the finger [m]."""

_URDF = Path(__file__).parents[2] / "urdf" / "fr3.urdf"
FloatArray = npt.NDArray[np.float64]
Pose = tuple[FloatArray, FloatArray]
"""Position [m] and rotation of the hand in the base frame."""


def hand_pose(positions: Mapping[str, float]) -> Pose:
    """Follow the URDF's joints from the base to the hand.

    Args:
        positions: Of joints, by name [rad] or [m].
    """
    joints = {_child(joint): joint for joint in ET.parse(_URDF).getroot().iter("joint")}
    chain: list[ET.Element] = []
    link = FRAME
    while link != BASE:
        chain.insert(0, joints[link])
        link = str(_of(joints[link], "parent").get("link"))
    place, turned = np.zeros(3), np.eye(3)
    for joint in chain:
        origin = _of(joint, "origin")
        place = place + turned @ _numbers(origin.get("xyz"))
        turned = turned @ euler_xyz(_numbers(origin.get("rpy")))
        if joint.get("type") == "revolute":
            axis = _numbers(_of(joint, "axis").get("xyz"))
            turned = turned @ axis_angle(axis * positions[str(joint.get("name"))])
    return place, turned


def _of(joint: ET.Element, tag: str) -> ET.Element:
    found = joint.find(tag)
    if found is None:
        raise ValueError(f"{_URDF}: joint {joint.get('name')} has no {tag}")
    return found


def _child(joint: ET.Element) -> str:
    return str(_of(joint, "child").get("link"))


def _numbers(text: str | None) -> FloatArray:
    return np.array([float(number) for number in (text or "0 0 0").split()])


def axis_angle(vector: FloatArray) -> FloatArray:
    """Rotation about `vector` by its length [rad]; Rodrigues."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross


def euler_xyz(angles: FloatArray) -> FloatArray:
    """Roll, pitch and yaw [rad] about the fixed axes x, y and z, in this order."""
    roll, pitch, yaw = (
        axis_angle(axis * angle) for axis, angle in zip(np.eye(3), angles, strict=True)
    )
    return yaw @ pitch @ roll


def rotation_vector(rotation: FloatArray) -> FloatArray:
    """The vector of `axis_angle`, of a rotation by less than pi."""
    x, y, z, w = quaternion(rotation)
    vector = np.array([x, y, z]) * (1.0 if w >= 0.0 else -1.0)
    size = float(np.linalg.norm(vector))
    return vector * (2.0 if size < 1e-12 else 2.0 * math.atan2(size, abs(w)) / size)


def quaternion(rotation: FloatArray) -> FloatArray:
    """X y z w of the largest component's sign; Bar-Itzhack's eigenvector."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0.0, 0.0, 0.0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0.0, 0.0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0.0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    _, vectors = np.linalg.eigh(k / 3.0, UPLO="L")
    found = vectors[:, -1]
    return found if found[np.argmax(np.abs(found))] > 0 else -found


def stepped(pose: Pose, move: FloatArray, turn: FloatArray) -> Pose:
    """Move by `move` [m] and turn by `turn`, roll, pitch, yaw [rad], along the base's axes."""
    return pose[0] + move, euler_xyz(turn) @ pose[1]


def row(pose: Pose) -> FloatArray:
    """X y z qx qy qz qw."""
    return np.concatenate([pose[0], quaternion(pose[1])])

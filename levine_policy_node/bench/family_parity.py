# SPDX-License-Identifier: Apache-2.0
"""How far answers are from those of a family's own code, whichever way they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from levine_policy_node.bench.family_recording import Answer, Recording
from levine_policy_node.core.units import FloatArray
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest differences over all observations, rows and columns.

    Attributes:
        joints: Of joint targets [rad], or efforts [N m]; None if none are compared.
        position: Of the hand [m].
        rotation: Of the hand, the angle between both [rad].
    """

    joints: float | None = None
    position: float | None = None
    rotation: float | None = None

    @property
    def max_abs(self) -> float:
        """The largest of them."""
        found = (self.joints, self.position, self.rotation)
        return max((value for value in found if value is not None), default=float("nan"))


def in_process(recording: Recording, bundle: Bundle, robot: Robot) -> tuple[Answer, ...]:
    """What the runtime answers to each observation without ROS.

    Raises:
        BundleError: If the bundle cannot be loaded for the robot.
        InferenceError: If there is no chunk.
    """
    policy = OnnxPolicy(bundle, robot)
    try:
        answers: list[Answer] = []
        for index in range(len(recording)):
            chunk = policy.infer(recording.observation(index, robot, bundle))
            efforts = getattr(chunk, "efforts", None)
            rows = chunk.positions if efforts is None else efforts
            answers.append(Answer(chunk.joint_names, rows))
        return tuple(answers)
    finally:
        policy.close()


def compare(recording: Recording, answers: Sequence[Answer], robot: Robot) -> Parity:
    """Compare answers with the recorded ones, by joint name and row.

    Rows beyond those of the family's code (a target that is held) are not compared.

    Raises:
        ValueError: If an answer is missing, or has fewer rows.
    """
    if len(answers) != len(recording):
        raise ValueError(f"{len(answers)} answers to {len(recording)} observations")
    joints = None
    if recording.actions:
        pairs = zip(recording.actions, answers, strict=True)
        joints = max(_apart(wanted, found) for wanted, found in pairs)
    if recording.poses is None:
        return Parity(joints)
    position, rotation = _hands_apart(recording.poses, answers, robot)
    return Parity(joints, position, rotation)


def _apart(wanted: Answer, found: Answer) -> float:
    columns = [found.names.index(name) for name in wanted.names]
    if len(found.rows) < len(wanted.rows):
        raise ValueError(f"{len(found.rows)} rows, and the family's code gives {len(wanted.rows)}")
    rows = found.rows[: len(wanted.rows), columns]
    return float(np.max(np.abs(rows - wanted.rows), initial=0.0))


def _hands_apart(
    poses: FloatArray, answers: Sequence[Answer], robot: Robot
) -> tuple[float, float]:
    """Largest distances [m], [rad] of where joint rows (T, J) bring the hand from `poses`."""
    from levine_policy_node.runtime.hand_kinematics import HandKinematics

    hand = HandKinematics(robot)
    position, rotation = 0.0, 0.0
    for wanted, found in zip(poses, answers, strict=True):
        order = [found.names.index(name) for name in robot.joint_names]
        for pose, row in zip(wanted, found.rows[: len(wanted), order], strict=True):
            reached = hand.pose(row)
            position = max(position, float(np.abs(reached.positions - pose[:3]).max()))
            rotation = max(rotation, _angle(reached.rotations, pose[3:]))
    return position, rotation


def _angle(rotation: FloatArray, quaternion: FloatArray) -> float:
    """Angle [rad] between a rotation (3, 3) and a quaternion x y z w."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    other = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    # The chord, as the cosine of a small angle says little: |R - Q| = 2 sqrt(2) sin(angle / 2).
    chord = float(np.linalg.norm(rotation - other)) / (2.0 * np.sqrt(2.0))
    return 2.0 * float(np.arcsin(min(chord, 1.0)))

# SPDX-License-Identifier: Apache-2.0
"""Recorded observations of one family, and what its own code answered (`examples/export`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from levine_policy_node.core.observation import Goal, Observation, Pixels
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs
from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import CameraStream, Robot, load_robot, robots_directory
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.urdf import find_urdf

_GOAL = "position"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Rows of one chunk, by joint name.

    Attributes:
        names: (K,).
        rows: (T, K) [rad], or [N m] of an effort policy; row i is for `(i + 1) / rate`.
    """

    names: tuple[str, ...]
    rows: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """N observations, a period apart, and what belongs to each.

    Attributes:
        family: Name of the bundle and the file.
        joint_names: (J,).
        positions: (N, J) [rad].
        velocities: (N, J) [rad/s].
        images: (N, H, W, 3) by camera.
        goals: (N, 3) [m], None if there is none.
        task: In words, or "".
        actions: What the family's code commands of joints, one per observation; empty for none.
        poses: (N, T, 7) x y z qx qy qz qw of the hand, of a Cartesian policy.
        tolerance: Largest difference allowed.
    """

    family: str
    joint_names: tuple[str, ...]
    positions: FloatArray
    velocities: FloatArray
    images: Mapping[str, npt.NDArray[np.uint8]]
    goals: FloatArray | None
    task: str
    actions: tuple[Answer, ...]
    poses: FloatArray | None
    tolerance: float

    def __len__(self) -> int:
        return len(self.positions)

    def frames(self, index: int) -> dict[str, Pixels]:
        """What each camera shows at an observation."""
        return {name: images[index] for name, images in self.images.items()}

    def stamp(self, index: int, rate: float) -> int:
        """When an observation was made, after the first one [ns]."""
        return round(index * NS_PER_S / rate)

    def goal(self, index: int, frame: str | None) -> Goal | None:
        """The place that the policy is told; frames are not recorded, the policy says which."""
        if self.goals is None or frame is None:
            return None
        return Goal(frame, self.goals[index])

    def observation(self, index: int, robot: Robot, bundle: Bundle) -> Observation:
        """An observation as the runtime puts it together."""
        order = [self.joint_names.index(name) for name in robot.joint_names]
        document = bundle.document
        return Observation(
            stamp_ns=StampNs(NS_PER_S + self.stamp(index, document.rate)),
            joint_positions=self.positions[index, order],
            images=self.frames(index),
            joint_velocities=self.velocities[index, order],
            task=self.task,
            goal=self.goal(index, document.goal_frame),
        )


def read_recording(path: Path) -> Recording:
    """Read `parity/<family>.npz`.

    Raises:
        ConfigError: If it is missing, or lacks something.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            table: dict[str, Any] = {name: file[name] for name in file}
        named = tuple(str(name) for name in table.get("action_names", ()))
        return Recording(
            family=path.stem,
            joint_names=tuple(str(name) for name in table["joint_names"]),
            positions=table["state.position"],
            velocities=table["state.velocity"],
            images={
                name.removeprefix("image."): values
                for name, values in table.items()
                if name.startswith("image.")
            },
            goals=table.get(f"goal.{_GOAL}"),
            task=str(table.get("task", "")),
            actions=tuple(Answer(named, rows) for rows in table.get("actions", ())),
            poses=table.get("poses"),
            tolerance=float(table["tolerance"]),
        )
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(str(path), "", f"is no recording of a family ({error})") from error


def robot_of(bundle: Bundle, recording: Recording) -> Robot:
    """The robot file that ships and takes a bundle, a simulated one before a real one.

    It has the recorded cameras: a goal image comes from whoever chooses goals, so no robot file
    has its camera.

    Raises:
        ConfigError: If there is none; the reason is that of the robot it was made for.
    """
    names = sorted(path.stem for path in robots_directory().glob("*.yaml"))
    refused: ConfigError | None = None
    for name in sorted(names, key=lambda name: not name.startswith("sim_")):
        robot = load_robot(name)
        if robot.model != bundle.document.robot:
            continue
        robot = robot.model_copy(update={"cameras": _cameras(robot, recording)})
        try:
            bundle.check_robot(robot)
        except ConfigError as error:
            refused = refused or error
        else:
            return robot
    model = bundle.document.robot
    raise refused or ConfigError(str(bundle.path), "robot", f"no robot file describes '{model}'")


def write_robot(robot: Robot, folder: Path) -> Path:
    """The file of `robot` with the cameras it has in memory, for a process of its own."""
    document = yaml.safe_load(robot.path.read_text())
    document["cameras"] = {
        name: camera.model_dump(mode="json", exclude_none=True)
        for name, camera in robot.cameras.items()
    }
    document["urdf"] = str(find_urdf(robot))
    path = folder / robot.path.name
    path.write_text(yaml.safe_dump(document))
    return path


def _cameras(robot: Robot, recording: Recording) -> dict[str, CameraStream]:
    cameras = dict(robot.cameras)
    for name, images in recording.images.items():
        height, width = images.shape[1:3]
        known = cameras.get(name, CameraStream(topic=f"camera/{name}/image"))
        cameras[name] = known.model_copy(update={"width": width, "height": height})
    return cameras

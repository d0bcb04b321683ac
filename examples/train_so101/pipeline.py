# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as the deployed runtime drives it, in one process and without ROS.

Chunks are placed on absolute time, merged and smoothed by the same code that runs on the robot,
and take effect only after a delay, so what a policy meets here is what it meets there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions, merge_chunk
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds
from levine_policy_node.robot import load_robot
from levine_policy_node.sim.arm import HOME_POSITION, SimArm
from levine_policy_node.sim.kinematics import ArmKinematics, HandPose
from levine_policy_node.sim.scene import CAMERA_NAMES, JOINT_NAMES, CameraRenderer
from levine_policy_node.sim.tasks import PickPlaceTask, cube_position, cube_yaw

IMAGE_SIZE = 96
ROWS = 16
ROW_S = 0.1
_TICK_S = 0.01
_HAND_LOW, _HAND_HIGH = np.array([0.14, -0.16, 0.07]), np.array([0.28, 0.18, 0.17])


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees at one instant: frames (C, 96, 96, 3) RGB, joints (6,) [rad]."""

    frames: npt.NDArray[np.uint8]
    joints: npt.NDArray[np.float32]


Policy = Callable[[Observation], FloatArray]
"""Gives joint targets (16, 6) [rad], row i for `(i + 1) * 0.1` s after the observation."""


def preprocess(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turn a frame (H, W, 3) into the network's input (3, 96, 96) in [0, 1].

    The runtime must do exactly this (`test/data/so101_preprocess_golden.npz`).
    """
    if frame.shape[:2] != (IMAGE_SIZE, IMAGE_SIZE):
        frame = cv2.resize(frame, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame.transpose(2, 0, 1).astype(np.float32) / 255.0)


class Robot:
    """Arm, task and cameras, and the timeline that is being played."""

    def __init__(self) -> None:
        self.arm = SimArm()
        self.task = PickPlaceTask()
        self._kinematics = ArmKinematics()
        self._renderer = CameraRenderer(height=IMAGE_SIZE, width=IMAGE_SIZE)
        self._limits: JointLimits = load_robot("sim_so101").limits()
        self._timeline = _hold(self.arm.setpoint, 0.0)

    def reset(self, seed: int, *, scattered: bool = False) -> None:
        """Start the episode `seed`, standing still.

        Args:
            seed: Seed of the scene.
            scattered: Start with the hand anywhere above the table instead of at home. A policy
                that has seen one start only reads off its joints where the cube must be, and
                does not learn to look.
        """
        self.task.reset(self.arm, seed)
        if scattered:
            self._scatter(seed)
        self._timeline = _hold(self.arm.setpoint, self.arm.time_s)

    def _scatter(self, seed: int) -> None:
        rng = np.random.default_rng(seed + 2_000_000)
        cube, yaw = cube_position(self.arm), cube_yaw(self.arm)
        pose = HandPose(rng.uniform(_HAND_LOW, _HAND_HIGH), float(rng.uniform(-0.8, 0.8)))
        joints = self._kinematics.solve(pose, np.array(HOME_POSITION), iterations=40)
        gripper = HOME_POSITION[-1] if rng.random() < 0.7 else float(rng.uniform(0.1, 1.1))
        self.arm.reset(seed, np.array([*joints, gripper]))
        self.arm.place_object("cube", cube, yaw)
        self.arm.advance(0.1)

    def observe(self) -> Observation:
        """Look through the cameras and read the joints, now."""
        state = self.arm.scene_state()
        frames = np.stack([self._renderer.render(name, state) for name in CAMERA_NAMES])
        return Observation(frames, self.arm.joint_reading().position.astype(np.float32))

    def command(self, ahead_s: float = 0.0) -> JointPoint:
        """Where the command is `ahead_s` [s] from now; past the timeline's end it stands still."""
        return self._timeline.sample(_stamp(self.arm.time_s + ahead_s))

    def play(self, duration_s: float) -> None:
        """Let the arm follow the timeline for `duration_s` [s]."""
        for _ in range(round(duration_s / _TICK_S)):
            self.arm.apply(self._timeline.sample(_stamp(self.arm.time_s + _TICK_S)).position)
            self.arm.advance(_TICK_S)

    def accept(self, rows: FloatArray, observed_s: float) -> None:
        """Merge the chunk `rows` (16, 6), computed from what was seen at `observed_s` [s]."""
        now = _stamp(self.arm.time_s)
        chunk = ActionChunk(JOINT_NAMES, _stamp(observed_s), ROW_S, rows)
        if not self._timeline.covers(StampNs(now + nanoseconds(0.5))):
            self._timeline = _hold(self.command().position, self.arm.time_s)
        merged = merge_chunk(self._timeline, chunk, now, self._limits, MergeOptions())
        if merged is not None:
            self._timeline = merged.timeline

    def close(self) -> None:
        """Free the cameras."""
        self._renderer.close()


def _stamp(time_s: float) -> StampNs:
    return StampNs(nanoseconds(time_s))


def _hold(position: FloatArray, time_s: float) -> Timeline[StampNs]:
    rows = np.tile(position, (2, 1))
    still = np.zeros_like(rows)
    return Timeline(JOINT_NAMES, _stamp(time_s), np.array([0.0, 2.0]), rows, still, still)

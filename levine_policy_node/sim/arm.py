# SPDX-License-Identifier: Apache-2.0
"""The arm itself: MuJoCo physics at 500 Hz behind position servos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.sim.scene import JOINT_NAMES, SceneState, import_mujoco, load_model

__all__ = ["HOME_POSITION", "ArmOptions", "JointReading", "SceneState", "SimArm"]

HOME_POSITION = (0.08, -1.24, 0.72, 1.37, 1.73, 1.0)
"""Where an episode starts, in `JOINT_NAMES` order [rad]: the open hand 13 cm above the table."""


@dataclass(frozen=True, slots=True)
class JointReading:
    """What the encoders report, each (J,) in `JOINT_NAMES` order.

    Attributes:
        position: [rad].
        velocity: [rad/s].
        effort: Torque of the servo [Nm].
    """

    position: FloatArray
    velocity: FloatArray
    effort: FloatArray


@dataclass(frozen=True, slots=True)
class ArmOptions:
    """How the simulated arm differs from the nominal one.

    Attributes:
        friction_scale: Factor on friction and damping of every joint.
        encoder_noise_rad: Standard deviation of the position reading [rad].
    """

    friction_scale: float = 1.0
    encoder_noise_rad: float = 0.0


class SimArm:
    """SO-101 with a cube and a bin; positions in, readings out, time moved by the caller.

    Not safe for use from several threads at once; hand `SceneState` and `JointReading`, which
    are copies, to other threads.
    """

    def __init__(self, options: ArmOptions | None = None) -> None:
        """Build the scene and put the arm at its home position.

        Raises:
            SystemDependencyError: If MuJoCo is not installed.
        """
        self.options = options or ArmOptions()
        self._mujoco = import_mujoco()
        self.model = load_model()
        self.data = self._mujoco.MjData(self.model)
        joints = [self.model.joint(name) for name in JOINT_NAMES]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in JOINT_NAMES])
        self.model.dof_frictionloss[self._dof] *= self.options.friction_scale
        self.model.dof_damping[self._dof] *= self.options.friction_scale
        self._setpoint = np.zeros(len(JOINT_NAMES))
        self._noise = np.random.default_rng(0)
        self._due_s = 0.0
        self.reset(0)

    @property
    def time_s(self) -> float:
        """Simulation time since the last reset [s]."""
        return float(self.data.time)

    @property
    def setpoint(self) -> FloatArray:
        """What the servos are told to hold, shape (J,) [rad]."""
        return self._setpoint.copy()

    def reset(self, seed: int, position: FloatArray | None = None) -> None:
        """Put the arm at rest at `position` (J,) [rad], by default home, at time 0.

        Args:
            seed: Seed of the encoder noise.
            position: Joint positions, in `JOINT_NAMES` order.
        """
        self._noise = np.random.default_rng(seed)
        self._mujoco.mj_resetData(self.model, self.data)
        start = np.array(HOME_POSITION if position is None else position, dtype=np.float64)
        self.data.qpos[self._qpos] = start
        self._due_s = 0.0
        self.apply(start)
        self._mujoco.mj_forward(self.model, self.data)

    def place_object(self, joint: str, position: FloatArray, yaw: float) -> None:
        """Lay the body of a free joint at `position` (3,) [m], turned by `yaw` [rad] about z."""
        at = self.model.joint(joint).qposadr[0]
        self.data.qpos[at : at + 3] = position
        self.data.qpos[at + 3 : at + 7] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        self._mujoco.mj_forward(self.model, self.data)

    def copy_state(self, other: SimArm) -> None:
        """Take over the physical state, setpoint and time of `other`, to try things out here."""
        self._mujoco.mj_copyData(self.data, other.model, other.data)
        self._setpoint = other.setpoint
        self._due_s = other._due_s

    def show(self, state: SceneState) -> None:
        """Put arm and objects where `state` has them, at rest, to look at the scene from here."""
        self.data.qpos[:] = state.qpos
        self.data.qvel[:] = 0.0
        self._mujoco.mj_forward(self.model, self.data)

    def apply(self, setpoint: FloatArray) -> None:
        """Give the servos a new setpoint (J,) [rad]; it stands until the next one."""
        self._setpoint = np.array(setpoint, dtype=np.float64)
        self.data.ctrl[self._ctrl] = self._setpoint

    def advance(self, duration_s: float) -> None:
        """Move physics on by `duration_s`, in whole steps; the remainder is carried over."""
        self._due_s += duration_s
        step_s = self.model.opt.timestep
        steps = int((self._due_s - self.data.time) / step_s + 0.5)
        if steps > 0:
            self._mujoco.mj_step(self.model, self.data, nstep=steps)

    def joint_reading(self) -> JointReading:
        """Read the encoders now."""
        position = self.data.qpos[self._qpos].copy()
        if self.options.encoder_noise_rad > 0.0:
            position += self._noise.normal(0.0, self.options.encoder_noise_rad, len(position))
        return JointReading(
            position,
            self.data.qvel[self._dof].copy(),
            self.data.actuator_force[self._ctrl].copy(),
        )

    def scene_state(self) -> SceneState:
        """Copy what the cameras can see now."""
        return SceneState(self.data.qpos.copy(), self.time_s)

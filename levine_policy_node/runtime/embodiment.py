# SPDX-License-Identifier: Apache-2.0
"""A bundle on one robot: what its policy is shown, and what its actions mean there.

The same wherever the network runs: in ONNX Runtime here, or on a server.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.integration import integrated
from levine_policy_node.core.moments import Moment, Moments
from levine_policy_node.core.observation import Goal, Observation
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds
from levine_policy_node.errors import InferenceError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.effort_rules import effort_bounds
from levine_policy_node.runtime.hand_kinematics import HandKinematics
from levine_policy_node.runtime.joint_targets import JointTargets
from levine_policy_node.runtime.preprocess import Preprocessor

_PLAUSIBLE = 3


class Embodiment:
    """Makes moments of observations and chunks of actions.

    Attributes:
        bundle: The bundle as this robot can serve it.
        preprocessor: Makes tensors of what is measured.
        targets: What the columns of an action are.

    Raises:
        BundleError: If the bundle does not fit the robot.
    """

    def __init__(self, bundle: Bundle, robot: Robot) -> None:
        self.bundle = bundle = bundle.for_robot(robot)
        self._robot = robot
        document = bundle.document
        hand = HandKinematics(robot) if document.hand_frames else None
        self.preprocessor = Preprocessor(bundle, robot.joint_names, robot.gripper_ends(), hand)
        self.targets = JointTargets(bundle, robot, hand)
        columns = document.action.columns
        self._moments = Moments(document.context.past_steps, 1.0 / document.rate, columns)
        self._effort_bounds = effort_bounds(document.action, robot)
        given_as_velocity = document.action.velocity_names
        self._velocity = np.array([name in given_as_velocity for name in robot.joint_names])

    def reset(self) -> None:
        """Forget the past."""
        self.targets.reset()
        self._moments.reset()

    def recall(self, observation: Observation) -> tuple[Moment, ...]:
        """What the policy sees, oldest first; see `Moments.recall`."""
        return self._moments.recall(observation)

    def chunk(
        self, actions: FloatArray, observation: Observation, delay_rows: int | None = None
    ) -> ActionChunk:
        """Turn actions into joint targets, and remember that they are played.

        Args:
            actions: Shape (T, A), in the network's unit.
            observation: What they were inferred from.
            delay_rows: For which delay they are, if the policy was told one [rows].

        Raises:
            InferenceError: If they cannot be played; nothing is remembered then.
        """
        source, document = self.bundle.source, self.bundle.document
        if not np.all(np.isfinite(actions)):
            raise InferenceError(f"{source}: the output is not finite")
        start, dt_s = document.chunk.start, 1.0 / document.rate
        measured, velocity = observation.joint_positions, self._velocity
        values, efforts = self.targets.positions(actions, observation), None
        if self._effort_bounds is not None:
            efforts = np.clip(values, *self._effort_bounds)
            values = np.repeat(measured[None], len(values), axis=0)
        chunk = ActionChunk(
            joint_names=self._robot.joint_names,
            observed_ns=observation.stamp_ns,
            dt_s=dt_s,
            positions=integrated(values, measured, velocity, dt_s),
            source=source,
            delay_rows=delay_rows,
            integrated_from=np.where(velocity, measured, np.nan) if np.any(velocity) else None,
            efforts=efforts,
        )
        self._moments.played(observation.stamp_ns, actions[start:])
        return chunk.held(round(document.chunk.hold * document.rate))

    def plausible(self, task: str) -> Iterator[Observation]:
        """A few observations as the robot could make them, always the same.

        Args:
            task: What they say is to be done.
        """
        rng = np.random.default_rng(0)
        limits, frame = self._robot.limits(), self.bundle.document.goal_frame
        for i in range(_PLAUSIBLE):
            yield Observation(
                stamp_ns=StampNs(i * nanoseconds(1.0 / self.bundle.document.rate)),
                joint_positions=rng.uniform(limits.lower, limits.upper),
                images={
                    name: rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
                    for name, camera in self._robot.cameras.items()
                    if name in self.bundle.cameras
                },
                joint_velocities=rng.uniform(-0.1, 0.1, len(limits.names)) * limits.velocity,
                task=task,
                goal=None if frame is None else Goal(frame, rng.uniform(0.0, 0.5, 3)),
            )

# SPDX-License-Identifier: Apache-2.0
"""A bundle on ONNX Runtime, behind the `Policy` interface."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.integration import integrated
from levine_policy_node.core.moments import Moments
from levine_policy_node.core.observation import Goal, Observation
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.errors import (
    BundleError,
    InferenceError,
    ObservationError,
    OutOfReachError,
)
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.decoder_factory import make_decoder
from levine_policy_node.runtime.feedback_state import make_feedback
from levine_policy_node.runtime.graph_check import check_inputs
from levine_policy_node.runtime.hand_kinematics import HandKinematics
from levine_policy_node.runtime.joint_targets import JointTargets
from levine_policy_node.runtime.moment_inputs import MomentInputs
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.onnx_session import OnnxOptions
from levine_policy_node.runtime.policy_inputs import PolicyInputs
from levine_policy_node.runtime.preprocess import Preprocessor

_WARM_UP_RUNS = 3


class OnnxPolicy:
    """Runs a verified bundle for one robot.

    Loading checks the graph against the document and runs it on plausible inputs.

    Raises:
        BundleError: If the bundle does not fit the robot, or its graph the document.
    """

    def __init__(self, bundle: Bundle, robot: Robot, options: OnnxOptions | None = None) -> None:
        self.bundle = bundle = bundle.for_robot(robot)
        self._robot = robot
        document = bundle.document
        hand = HandKinematics(robot) if document.hand_frames else None
        self._preprocessor = Preprocessor(bundle, robot.joint_names, robot.gripper_ends(), hand)
        self._targets = JointTargets(bundle, robot, hand)
        columns = document.action.columns
        self._moments = Moments(document.context.past_steps, 1.0 / document.rate, columns)
        given_as_velocity = bundle.document.action.velocity_names
        self._velocity = np.array([name in given_as_velocity for name in robot.joint_names])
        self._noise = Noise()
        self._graphs = OnnxGraphs(bundle, options or OnnxOptions())
        try:
            self._inputs = PolicyInputs(bundle.document, self._graphs)
            self._more = MomentInputs(bundle, self._graphs, self._preprocessor)
            made = {*self._inputs.names, *self._more.names, *document.feedback}
            check_inputs(document, self._graphs, self._observed_shapes(), made)
            self._decoder = make_decoder(bundle, self._graphs)
            self._feedback = make_feedback(bundle.document, self._graphs)
            self._warm_up()
        except BundleError:
            self.close()
            raise

    @property
    def source(self) -> str:
        """Who commands, `policy:<name>@<hash8>`."""
        return self.bundle.source

    @property
    def graph_s(self) -> float:
        """Time the last inference spent inside its graphs [s]."""
        return self._graphs.spent_s

    def reset(self) -> None:
        """Begin the sequence of noise again, and forget plans, state and the past."""
        self._noise.reset()
        self._decoder.reset()
        self._feedback.reset()
        self._targets.reset()
        self._moments.reset()

    def close(self) -> None:
        """Stop the watchdog; the graphs must not run any more."""
        self._graphs.close()

    def infer(self, observation: Observation, prefix: ActionPrefix | None = None) -> ActionChunk:
        """Predict joint targets; see `Policy.infer`."""
        document = self.bundle.document
        measured = observation.joint_positions
        known = None
        if prefix is not None:
            known = NetworkPrefix(self._targets.actions(prefix.rows, measured), prefix.delay_rows)
        moments = self._moments.recall(observation)
        tensors = {
            **self._preprocessor.tensors(moments),
            **self._more.tensors(moments),
            **self._inputs.tensors(self._noise, known),
            **self._feedback.begin(),
        }
        with self._graphs.inference():
            actions = self._decoder.decode(self._feedback, tensors, self._noise, known)
        if not np.all(np.isfinite(actions)):
            raise InferenceError(f"{self.source}: the output is not finite")
        self._feedback.commit()
        self._moments.played(observation.stamp_ns, actions[document.chunk.start :])
        dt_s, velocity = 1.0 / document.rate, self._velocity
        values = self._targets.positions(actions, observation)
        chunk = ActionChunk(
            joint_names=self._robot.joint_names,
            observed_ns=observation.stamp_ns,
            dt_s=dt_s,
            positions=integrated(values, measured, velocity, dt_s),
            source=self.source,
            delay_rows=None if prefix is None else prefix.delay_rows,
            integrated_from=np.where(velocity, measured, np.nan) if np.any(velocity) else None,
        )
        return chunk.held(round(document.chunk.hold * document.rate))

    def _observed_shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """What graphs are given of observations, without those that are only for a text."""
        taken = {name for role in self._graphs.roles for name in self._graphs.inputs(role)}
        observed = self.bundle.document.observations
        spoken = {getattr(observed[key], "tensor", None) or key for key in self._more.prompted}
        shapes = self._preprocessor.shapes
        return {name: shapes[name] for name in shapes if name in taken or name not in spoken}

    def _warm_up(self) -> None:
        """Run on plausible inputs: first runs are slow, and a broken graph shows here."""
        rng = np.random.default_rng(0)
        limits, frame = self._robot.limits(), self.bundle.document.goal_frame
        for run in range(_WARM_UP_RUNS):
            observation = Observation(
                stamp_ns=StampNs(run * nanoseconds(1.0 / self.bundle.document.rate)),
                joint_positions=rng.uniform(limits.lower, limits.upper),
                images={
                    name: rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
                    for name, camera in self._robot.cameras.items()
                    if name in self.bundle.cameras
                },
                joint_velocities=rng.uniform(-0.1, 0.1, len(limits.names)) * limits.velocity,
                task=self._more.warm_up_task,
                goal=None if frame is None else Goal(frame, rng.uniform(0.0, 0.5, 3)),
            )
            prefix = None
            if run > 0 and self.bundle.document.rtc is not None:
                prefix = ActionPrefix(observation.joint_positions[None], delay_rows=1)
            try:
                self.infer(observation, prefix)
            except OutOfReachError:
                continue  # the arm may be anywhere here, and the pose is for where it was trained
            except (InferenceError, ObservationError, ValueError) as error:
                raise BundleError(
                    self._graphs.file("step"), "", f"fails on a plausible observation: {error}"
                ) from error
        self.reset()

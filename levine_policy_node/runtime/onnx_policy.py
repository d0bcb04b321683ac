# SPDX-License-Identifier: Apache-2.0
"""A bundle on ONNX Runtime, behind the `Policy` interface."""

from __future__ import annotations

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.errors import (
    BundleError,
    InferenceError,
    ObservationError,
    OutOfReachError,
)
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.decoder_factory import make_decoder
from levine_policy_node.runtime.embodiment import Embodiment
from levine_policy_node.runtime.feedback_state import make_feedback
from levine_policy_node.runtime.graph_check import check_inputs
from levine_policy_node.runtime.moment_inputs import MomentInputs
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.onnx_loader import OnnxOptions
from levine_policy_node.runtime.policy_inputs import PolicyInputs


class OnnxPolicy:
    """Runs a verified bundle for one robot.

    Loading checks the graph against the document and runs it on plausible inputs.

    Raises:
        BundleError: If the bundle does not fit the robot, or its graph the document.
    """

    def __init__(self, bundle: Bundle, robot: Robot, options: OnnxOptions | None = None) -> None:
        self._body = Embodiment(bundle, robot)
        self.bundle = bundle = self._body.bundle
        document = bundle.document
        self._noise = Noise()
        self._graphs = OnnxGraphs(bundle, options or OnnxOptions())
        try:
            self._inputs = PolicyInputs(document, self._graphs)
            self._more = MomentInputs(bundle, self._graphs, self._body.preprocessor)
            made = {*self._inputs.names, *self._more.names, *document.feedback}
            check_inputs(document, self._graphs, self._observed_shapes(), made)
            self._decoder = make_decoder(bundle, self._graphs)
            self._feedback = make_feedback(document, self._graphs)
            self._warm_up()
        except BundleError:
            self.close()
            raise

    @property
    def source(self) -> str:
        """Who commands, `policy:<name>@<hash8>`."""
        return self.bundle.source

    @property
    def place(self) -> str:
        """Where its graphs run, and why not where `auto` would rather have them."""
        others = self._graphs.passed_over.items()
        return self._graphs.place + "".join(f"; {name} cannot ({why})" for name, why in others)

    @property
    def graph_s(self) -> float:
        """Time the last inference spent inside its graphs [s]."""
        return self._graphs.spent_s

    def reset(self) -> None:
        """Begin the sequence of noise again, and forget plans, state and the past."""
        self._noise.reset()
        self._decoder.reset()
        self._feedback.reset()
        self._body.reset()

    def close(self) -> None:
        """Stop the watchdog; the graphs must not run any more."""
        self._graphs.close()

    def infer(self, observation: Observation, prefix: ActionPrefix | None = None) -> ActionChunk:
        """Predict joint targets; see `Policy.infer`."""
        known, delay_rows = None, None
        if prefix is not None:
            delay_rows = prefix.delay_rows
            rows = self._body.targets.actions(prefix.rows, observation.joint_positions)
            known = NetworkPrefix(rows, delay_rows)
        moments = self._body.recall(observation)
        tensors = {
            **self._body.preprocessor.tensors(moments),
            **self._more.tensors(moments),
            **self._inputs.tensors(self._noise, known),
            **self._feedback.begin(),
        }
        with self._graphs.inference():
            actions = self._decoder.decode(self._feedback, tensors, self._noise, known)
        chunk = self._body.chunk(actions, observation, delay_rows)
        self._feedback.commit()
        return chunk

    def _observed_shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """What graphs are given of observations, without those that are only for a text."""
        taken = {name for role in self._graphs.roles for name in self._graphs.inputs(role)}
        observed = self.bundle.document.observations
        spoken = {getattr(observed[key], "tensor", None) or key for key in self._more.prompted}
        shapes = self._body.preprocessor.shapes
        return {name: shapes[name] for name in shapes if name in taken or name not in spoken}

    def _warm_up(self) -> None:
        """Run on plausible inputs: first runs are slow, and a broken graph shows here."""
        for run, observation in enumerate(self._body.plausible(self._more.warm_up_task)):
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

# SPDX-License-Identifier: Apache-2.0
"""`policy.yaml`: what a policy sees, what its numbers mean, and how they become joint targets.

Processing order is fixed by the runtime, so a document says values, never steps. Kinds, decoders
and modes the runtime does not know are refused by name; a new family adds a class and joins one
of the unions here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, model_validator

from levine_policy_node.core.context import ContextNeeds
from levine_policy_node.runtime.action_schema import ActionSpec, GripperPart
from levine_policy_node.runtime.body_schema import BodyTarget, BodyTerm
from levine_policy_node.runtime.chunk_schema import ChunkSpec
from levine_policy_node.runtime.decoder_rules import check_decoders
from levine_policy_node.runtime.decoder_schema import DecoderSpec, FlowDecoder, OneDecoder
from levine_policy_node.runtime.effort_rules import check_chunk
from levine_policy_node.runtime.goal_schema import GoalTerm
from levine_policy_node.runtime.graph_schema import FileName, Graphs, RtcSpec, Sha256, TensorName
from levine_policy_node.runtime.language_schema import (
    EmbeddingObservation,
    LanguageObservation,
    TextObservation,
)
from levine_policy_node.runtime.made_schema import PolicyInput
from levine_policy_node.runtime.observation_rules import check_observations, vector_of
from levine_policy_node.runtime.observation_schema import (
    GripperTerm,
    ImageObservation,
    ObservationSpec,
    TermsObservation,
    VectorObservation,
)
from levine_policy_node.runtime.remote_schema import RemoteSpec, check_remote
from levine_policy_node.runtime.stats_schema import FeatureStats
from levine_policy_node.strict_model import Strict


class BundleDocument(Strict):
    """A validated `policy.yaml`.

    Attributes:
        robot: Model of the robot the policy was made for (`model` of the robot file).
        rate: Rows per second of a chunk [Hz].
        graphs: What runs here.
        remote: The server that runs the policy, in place of graphs.
        observations: Graph inputs by feature name.
        feedback: Output that becomes a graph input of the next inference, by that input.
        stats: A safetensors file with `<feature>.<mean|std|min|max|q01|q99|eps>`, or inline.
        files: sha256 of every file of the bundle but this one.
    """

    format: Literal["policy_package"]
    version: Literal["1.1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    description: str = ""
    robot: str
    rate: Annotated[float, Field(gt=0, le=1000)]
    graphs: Graphs = Field(default_factory=lambda: Graphs.model_validate({}))
    remote: RemoteSpec | None = None
    observations: Annotated[dict[str, ObservationSpec], Field(min_length=1)]
    decoder: DecoderSpec
    action: ActionSpec
    chunk: ChunkSpec = ChunkSpec()
    feedback: dict[TensorName, TensorName] = Field(default_factory=dict)
    stats: FileName | dict[str, FeatureStats] | None = None
    files: dict[FileName, Sha256] = Field(default_factory=dict)

    @property
    def cameras(self) -> dict[str, str]:
        """Camera name of every image observation, by feature name."""
        return {
            key: spec.camera or ("goal" if spec.is_goal else key.rsplit(".", 1)[-1])
            for key, spec in self.observations.items()
            if isinstance(spec, ImageObservation) and not spec.absent
        }

    def for_cameras(self, known: Collection[str]) -> BundleDocument:
        """The same for a robot that has only these cameras: optional images of others are absent.

        Images that must be there stay, so that they are missed.
        """
        missing = {
            key: spec.model_copy(update={"absent": True})
            for key, spec in self.observations.items()
            if isinstance(spec, ImageObservation)
            and spec.image.optional
            and self.cameras.get(key, "") not in known
        }
        return self.model_copy(update={"observations": {**self.observations, **missing}})

    @property
    def missing_images(self) -> tuple[str, ...]:
        """Optional images that there will not be, by feature name; see `for_cameras`."""
        return tuple(
            key
            for key, spec in self.observations.items()
            if isinstance(spec, ImageObservation) and spec.absent and spec.image.optional
        )

    @property
    def context(self) -> ContextNeeds:
        """What the policy sees beside the newest frames and joints."""
        images = {
            self.cameras[key]: spec
            for key, spec in self.observations.items()
            if isinstance(spec, ImageObservation) and key in self.cameras
        }
        histories = (getattr(spec, "history", None) for spec in self.observations.values())
        return ContextNeeds(
            goals={name: spec.image.optional for name, spec in images.items() if spec.is_goal},
            past_steps=max([1, *(history.steps for history in histories if history is not None)]),
            past_cameras=tuple(n for n, spec in images.items() if spec.history is not None),
            period_s=1.0 / self.rate,
        )

    @property
    def reads_task(self) -> bool:
        """Whether the policy is told in words what to do."""
        return any(
            isinstance(spec, (LanguageObservation, EmbeddingObservation, TextObservation))
            for spec in self.observations.values()
        )

    @property
    def goal_frame(self) -> str | None:
        """Frame of the place that the policy is told; None if it is told none."""
        terms = (term for spec in self.vectors.values() for term in spec.terms)
        return next((term.frame for term in terms if isinstance(term, GoalTerm)), None)

    @property
    def observed_joints(self) -> tuple[str, ...]:
        """Every joint the policy observes, once, in document order."""
        return tuple(
            dict.fromkeys(n for v in self.vectors.values() for term in v.terms for n in term.names)
        )

    @property
    def vectors(self) -> dict[str, VectorObservation | TermsObservation]:
        """Every observation made of numbers that are measured or fed back, by feature name."""
        found = {key: vector_of(spec) for key, spec in self.observations.items()}
        return {key: spec for key, spec in found.items() if spec is not None}

    @property
    def grippers(self) -> tuple[str, ...]:
        """Every joint that must be a gripper of the robot."""
        return tuple(dict.fromkeys(n for part in self._gripper_parts for n in part.names))

    @property
    def unnamed_gripper(self) -> bool:
        """Whether a gripper is meant that no joint is named for: the robot's only one."""
        return any(not part.names for part in self._gripper_parts)

    @property
    def hand_frames(self) -> dict[str, str]:
        """Where a frame of the hand is named, and the name."""
        terms = {
            f"observations.{key}": term
            for key, spec in self.vectors.items()
            for term in spec.terms
            if isinstance(term, BodyTerm)
        }
        parts = {
            f"action.parts.{i}": part
            for i, part in enumerate(self.action.parts)
            if isinstance(part, BodyTarget)
        }
        return {f"{field}.frame": part.frame for field, part in {**terms, **parts}.items()}

    @property
    def _gripper_parts(self) -> tuple[GripperTerm | GripperPart, ...]:
        terms = (term for spec in self.vectors.values() for term in spec.terms)
        return (*(t for t in terms if isinstance(t, GripperTerm)), *self.action.grippers)

    @property
    def policy_inputs(self) -> dict[str, PolicyInput]:
        """Every graph input that the runtime makes, by feature name."""
        return {k: s for k, s in self.observations.items() if isinstance(s, PolicyInput)}

    @property
    def decoders(self) -> tuple[OneDecoder, ...]:
        """The decoder, or all of them."""
        return self.decoder if isinstance(self.decoder, tuple) else (self.decoder,)

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Files that say what tokens and tasks mean."""
        used = [getattr(decoder, "detokenize", None) for decoder in self.decoders]
        files = [getattr(detokenize, "tokenizer", None) for detokenize in used]
        for spec in self.observations.values():
            if isinstance(spec, LanguageObservation):
                files.append(spec.text.tokenizer)
            elif isinstance(spec, EmbeddingObservation):
                files.append(spec.file)
        return tuple(dict.fromkeys(file for file in files if file is not None))

    @property
    def rtc(self) -> RtcSpec | None:
        """How this policy can do real-time chunking, or None if it cannot.

        Without a section a flow is guided, and a graph that takes a prefix is handed it.
        """
        if self.rtc_obstacle:
            return None
        if self.chunk.rtc is not None:
            return self.chunk.rtc
        if self._takes_prefix:
            return RtcSpec(mode="graph")
        return RtcSpec(mode="guided") if isinstance(self.decoder, FlowDecoder) else None

    @property
    def rtc_obstacle(self) -> str:
        """Why this policy cannot do real-time chunking, or ""."""
        if self.action.obstacle:
            return self.action.obstacle
        if isinstance(self.decoder, FlowDecoder) or self._takes_prefix:
            return ""
        return (
            "it has neither decoder flow nor observations of kind policy/action_prefix and "
            "policy/inference_delay"
        )

    @property
    def _takes_prefix(self) -> bool:
        kinds = {spec.kind for spec in self.policy_inputs.values()}
        return {"policy/action_prefix", "policy/inference_delay"} <= kinds

    def hashes(self) -> dict[str, str]:
        """The sha256 this document states, by file name."""
        given = {graph.file: graph.sha256 for graph in self.graphs.files}
        return {**self.files, **{file: sha for file, sha in given.items() if sha is not None}}

    @model_validator(mode="after")
    def _check(self) -> BundleDocument:
        if {**self.hashes(), **self.files} != self.hashes():
            raise ValueError("graphs and files state different hashes for one file")
        self._check_runs()
        check_observations(self.observations, self.action.columns, {*self.feedback})
        if self.feedback and self.chunk.replan != "every":
            raise ValueError("feedback counts inferences as time, and needs chunk.replan: every")
        self._check_replan()
        self._check_rtc()
        if self.chunk.hold > 0.0 and self.action.velocity_names:
            raise ValueError("chunk.hold: a velocity is never held; the arm brakes when rows end")
        check_chunk(self.action, self.chunk)
        return self

    def _check_runs(self) -> None:
        """Graphs run the policy, or a server does."""
        if self.remote is None:
            if self.graphs.step is None:
                raise ValueError("graphs.step is missing; name an ONNX file, or a server (remote)")
            words = [k for k, s in self.observations.items() if isinstance(s, TextObservation)]
            if words:
                raise ValueError(
                    f"observations.{words[0]}: command/text is for a server; a graph takes tokens "
                    "(command/language)"
                )
            check_decoders(self.decoders, self.graphs, self.chunk, self.action.columns)
            return
        for field, given in (("graphs", self.graphs.files), ("feedback", self.feedback)):
            if given:
                raise ValueError(f"remote: the policy runs on the server; remove {field}")
        check_remote(self.remote, self.observations, self.decoders)

    def _check_replan(self) -> None:
        length_s = (self.chunk.size - self.chunk.start) / self.rate
        if (self.chunk.threshold_s or 0.0) >= length_s:
            raise ValueError(
                f"chunk.threshold_s {self.chunk.threshold_s} must be below the {length_s:g} s of "
                "a chunk; to infer all the time choose replan: at_once"
            )

    def _check_rtc(self) -> None:
        mode = None if self.chunk.rtc is None else self.chunk.rtc.mode
        if (mode is not None or self.chunk.merge == "rtc") and self.rtc_obstacle:
            raise ValueError(f"chunk.rtc is not for this policy: {self.rtc_obstacle}")
        if mode in {"guided", "trained"} and not isinstance(self.decoder, FlowDecoder):
            raise ValueError(f"chunk.rtc.mode {mode} needs decoder flow")
        if mode == "graph" and not self._takes_prefix:
            raise ValueError(
                "chunk.rtc.mode graph needs observations of kind policy/action_prefix and "
                "policy/inference_delay"
            )

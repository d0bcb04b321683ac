# SPDX-License-Identifier: Apache-2.0
"""`policy.yaml`: what a policy sees, what its numbers mean, and how they become joint targets.

Processing order is fixed by the runtime, so a document says values, never steps. Kinds, decoders
and modes the runtime does not know are refused by name; a new family adds a class and joins one
of the unions here.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from levine_policy_node.runtime.image_schema import ImageSpec, Positive
from levine_policy_node.strict_model import Strict


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name:
        raise ValueError(f"'{name}' must be a plain path inside the bundle")
    return name


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("a name is given twice")
    return names


FileName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_./-]+$", max_length=200), AfterValidator(_inside)
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
JointNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1), AfterValidator(_unique)]
Numbers = float | Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
Normalize = Literal["mean_std", "min_max"]


class JointTerm(Strict):
    """Joint positions [rad] or velocities [rad/s], by name, times `scale` plus `offset`."""

    kind: Literal["state/joint/position", "state/joint/velocity"]
    names: JointNames
    scale: Numbers = 1.0
    offset: Numbers = 0.0

    @model_validator(mode="after")
    def _check(self) -> JointTerm:
        _check_numbers(self, len(self.names))
        return self


class JointObservation(JointTerm):
    """A graph input made of one joint quantity."""

    normalize: Normalize | None = None
    tensor: str | None = None

    @property
    def terms(self) -> tuple[JointTerm, ...]:
        """The one term, so that both vector kinds are read alike."""
        return (self,)


class TermsObservation(Strict):
    """A graph input that concatenates several joint quantities."""

    terms: Annotated[tuple[JointTerm, ...], Field(strict=False, min_length=1)]
    normalize: Normalize | None = None
    tensor: str | None = None


class ImageObservation(Strict):
    """A graph input made of one camera's frame; `camera` defaults to the key's last part."""

    kind: Literal["sensor/image"]
    image: ImageSpec
    camera: str | None = None
    tensor: str | None = None


def _observation_tag(value: Any) -> str | None:
    if isinstance(value, TermsObservation):
        return "terms"
    if not isinstance(value, dict):
        return getattr(value, "kind", None)
    if ("terms" in value) == ("kind" in value):
        return None
    return "terms" if "terms" in value else str(value["kind"])  # pyright: ignore


ObservationSpec = Annotated[
    Annotated[JointObservation, Tag("state/joint/position")]
    | Annotated[JointObservation, Tag("state/joint/velocity")]
    | Annotated[ImageObservation, Tag("sensor/image")]
    | Annotated[TermsObservation, Tag("terms")],
    Discriminator(
        _observation_tag,
        custom_error_type="observation_kind",
        custom_error_message=(
            "give 'terms' or a 'kind' this version supports: "
            "state/joint/position, state/joint/velocity, sensor/image"
        ),
    ),
]


class DirectDecoder(Strict):
    """The graph's output is the action chunk; `output` may be left out when there is one."""

    type: Literal["direct"]
    output: str | None = None


class JointTarget(Strict):
    """Columns of the action that are joint position targets [rad].

    `relative` targets are added to the positions measured with the observation.
    """

    kind: Literal["target/joint/position"]
    names: JointNames
    mode: Literal["absolute", "relative"] = "absolute"
    scale: Numbers = 1.0
    offset: Numbers = 0.0

    @model_validator(mode="after")
    def _check(self) -> JointTarget:
        _check_numbers(self, len(self.names))
        return self


class ActionSpec(Strict):
    """The action's columns in order, and how they were normalised in training."""

    normalize: Normalize | None = None
    parts: Annotated[tuple[JointTarget, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> ActionSpec:
        _unique(self.names)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Joint of every column."""
        return tuple(name for part in self.parts for name in part.names)


class ChunkSpec(Strict):
    """How many rows the graph predicts, which are used, and when to predict again.

    Attributes:
        size: Rows the graph returns.
        execute: Rows played before the next observation is asked for.
        start: First row that belongs to the future.
        merge: How a chunk joins the one before it; `ensemble` if a coefficient is given, else
            `blend`.
        ensemble: Coefficient k of an ACT ensemble, with weights exp(-k i), i = 0 the oldest.
        smoothing: Standard deviation of the zero-phase smoothing of each chunk [s].
    """

    size: Positive = 1
    execute: Positive = 1
    start: Annotated[int, Field(ge=0)] = 0
    merge: Literal["replace", "blend", "ensemble"] | None = None
    ensemble: Annotated[float, Field(allow_inf_nan=False)] | None = None
    smoothing: Annotated[float, Field(ge=0.0, le=1.0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> ChunkSpec:
        if self.start + self.execute > self.size:
            raise ValueError(
                f"start {self.start} + execute {self.execute} is more than size {self.size}"
            )
        if self.ensemble is not None and self.merge not in {None, "ensemble"}:
            raise ValueError(f"merge {self.merge} does not use the coefficient in ensemble")
        return self


class FeatureStats(Strict):
    """Statistics of one feature from the training data; one value per column (and row)."""

    mean: Any = None
    std: Any = None
    min: Any = None
    max: Any = None


class GraphFile(Strict):
    """An ONNX file, with its hash unless `files` has it."""

    file: FileName
    sha256: Sha256 | None = None


class Graphs(Strict):
    """ONNX graphs by role."""

    step: FileName | GraphFile

    @property
    def step_file(self) -> str:
        """Name of the step graph's file."""
        return self.step if isinstance(self.step, str) else self.step.file


class BundleDocument(Strict):
    """A validated `policy.yaml`.

    Attributes:
        robot: Model of the robot the policy was made for (`model` of the robot file).
        rate: Rows per second of a chunk [Hz].
        observations: Graph inputs by feature name.
        stats: A safetensors file with `<feature>.<mean|std|min|max>`, or the same inline.
        files: sha256 of every file of the bundle but this one.
    """

    format: Literal["policy_package"]
    version: Literal["1.1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    description: str = ""
    robot: str
    rate: Annotated[float, Field(gt=0, le=1000)]
    graphs: Graphs
    observations: Annotated[dict[str, ObservationSpec], Field(min_length=1)]
    decoder: DirectDecoder
    action: ActionSpec
    chunk: ChunkSpec = ChunkSpec()
    stats: FileName | dict[str, FeatureStats] | None = None
    files: dict[FileName, Sha256] = Field(default_factory=dict)

    @property
    def cameras(self) -> dict[str, str]:
        """Camera name of every image observation, by feature name."""
        return {
            key: spec.camera or key.rsplit(".", 1)[-1]
            for key, spec in self.observations.items()
            if isinstance(spec, ImageObservation)
        }

    @property
    def observed_joints(self) -> tuple[str, ...]:
        """Every joint the policy observes, once, in document order."""
        vectors = [s for s in self.observations.values() if not isinstance(s, ImageObservation)]
        return tuple(dict.fromkeys(n for v in vectors for term in v.terms for n in term.names))

    def hashes(self) -> dict[str, str]:
        """The sha256 this document states, by file name."""
        step = self.graphs.step
        if isinstance(step, GraphFile) and step.sha256 is not None:
            return {**self.files, step.file: step.sha256}
        return dict(self.files)

    @model_validator(mode="after")
    def _check(self) -> BundleDocument:
        if {**self.hashes(), **self.files} != self.hashes():
            raise ValueError("graphs.step.sha256 and files state different hashes for one file")
        return self


def _check_numbers(part: JointTerm | JointTarget, count: int) -> None:
    for field, value in (("scale", part.scale), ("offset", part.offset)):
        if isinstance(value, tuple) and len(value) != count:
            raise ValueError(f"{field}: {len(value)} values for {count} names")

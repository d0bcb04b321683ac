# SPDX-License-Identifier: Apache-2.0
"""The parts of `policy.yaml` that name graphs and say how chunks continue each other."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from levine_policy_node.core.rtc import Schedule
from levine_policy_node.runtime.image_schema import Positive
from levine_policy_node.strict_model import Strict


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name:
        raise ValueError(f"'{name}' must be a plain path inside the bundle")
    return name


FileName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_./-]+$", max_length=200), AfterValidator(_inside)
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
TensorName = Annotated[str, Field(min_length=1, max_length=200)]
Role = str
"""What a graph is for: `encode`, `step`, or a name of its own that a decoder gives."""

ENCODE: Role = "encode"
STEP: Role = "step"

# LeRobot's, from `policies/rtc/configuration_rtc.py`.
DEFAULT_HORIZON = 10
DEFAULT_MAX_WEIGHT = 10.0


class GraphFile(Strict):
    """An ONNX file, with its hash unless `files` has it."""

    file: FileName
    sha256: Sha256 | None = None


_MAX_STAGES = 8


def _stages(value: object) -> object:
    """A file, or a list of files; each a name, or with its hash."""
    stages = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    return tuple({"file": one} if isinstance(one, str) else one for one in stages)


_ONE: dict[str, Any] = {"anyOf": [{"type": "string"}, GraphFile.model_json_schema()]}
Pipeline = Annotated[
    tuple[GraphFile, ...],
    Field(min_length=1, max_length=_MAX_STAGES),
    BeforeValidator(_stages),
    WithJsonSchema({"anyOf": [*_ONE["anyOf"], {"type": "array", "minItems": 1, "items": _ONE}]}),
]
"""Graphs that run one after the other; what one returns goes to those after it, by name."""


class Graphs(Strict):
    """ONNX graphs by role: `encode` runs once per inference, `step` as often as decoded.

    Further roles are those that a decoder names in its field `graph`.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[TensorName, Pipeline]  # pyright: ignore[reportIncompatibleVariableOverride]

    step: Pipeline | None = None
    encode: Pipeline | None = None

    @property
    def pipelines(self) -> dict[Role, tuple[GraphFile, ...]]:
        """Files of every role that is given, in the order they run."""
        named = {ENCODE: self.encode, STEP: self.step, **(self.__pydantic_extra__ or {})}
        return {role: graphs for role, graphs in named.items() if graphs is not None}

    @property
    def files(self) -> tuple[GraphFile, ...]:
        """Files of all roles."""
        return tuple(graph for graphs in self.pipelines.values() for graph in graphs)


class RtcSpec(Strict):
    """Real-time chunking: the policy continues what is being played.

    Attributes:
        mode: `guided` steers the flow towards it, `trained` fixes the rows that will have been
            played, `graph` hands it to the graph.
        max_delay: Largest delay the policy was trained for [rows].
        execution_horizon: Rows that are drawn towards it at most (`guided`, `graph`).
        max_guidance_weight: Largest guidance weight (`guided`, `graph`).
        schedule: How the weight falls from the last played row to the horizon (`guided`).
    """

    mode: Literal["guided", "trained", "graph"]
    max_delay: Positive | None = None
    execution_horizon: Positive | None = None
    max_guidance_weight: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    schedule: Schedule | None = None

    @model_validator(mode="after")
    def _check(self) -> RtcSpec:
        if self.mode == "trained" and self.max_delay is None:
            raise ValueError("mode trained needs max_delay, the largest delay seen in training")
        unused = {
            "trained": ("execution_horizon", "max_guidance_weight", "schedule"),
            "graph": ("schedule",),
            "guided": (),
        }[self.mode]
        given = [name for name in unused if getattr(self, name) is not None]
        if given:
            raise ValueError(f"mode {self.mode} does not use {', '.join(given)}")
        return self

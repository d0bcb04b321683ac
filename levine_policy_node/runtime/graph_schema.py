# SPDX-License-Identifier: Apache-2.0
"""The parts of `policy.yaml` that name graphs and say how they are sampled."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

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
Role = Literal["encode", "step"]

# LeRobot's, from `policies/rtc/configuration_rtc.py`.
DEFAULT_HORIZON = 10
DEFAULT_MAX_WEIGHT = 10.0


class GraphFile(Strict):
    """An ONNX file, with its hash unless `files` has it."""

    file: FileName
    sha256: Sha256 | None = None


class Graphs(Strict):
    """ONNX graphs by role: `encode` runs once per inference, `step` as often as decoded."""

    step: FileName | GraphFile
    encode: FileName | GraphFile | None = None

    @property
    def files(self) -> dict[Role, GraphFile]:
        """File of every role that is given."""
        given: tuple[tuple[Role, FileName | GraphFile | None], ...] = (
            ("encode", self.encode),
            ("step", self.step),
        )
        return {
            role: GraphFile(file=named) if isinstance(named, str) else named
            for role, named in given
            if named is not None
        }


class DirectDecoder(Strict):
    """The graph's output is the action chunk; `output` may be left out when there is one."""

    type: Literal["direct"]
    output: TensorName | None = None


class FlowDecoder(Strict):
    """Euler steps from noise to actions along the velocity that `step` predicts.

    Attributes:
        steps: Euler steps.
        x: Input of `step` for the sample, (1, T, A).
        time: Input of `step` for the flow time: () or (1,), or (1, T) for a time per row.
        velocity: Output of `step`, (1, T, A); may be left out when there is one.
        shape: (T, A) of the sample, where A is padded; else chunk.size and the action's columns.
    """

    type: Literal["flow"]
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    x: TensorName = "x_t"
    time: TensorName = "timestep"
    velocity: TensorName | None = None
    shape: Annotated[tuple[Positive, Positive], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _check(self) -> FlowDecoder:
        if self.x == self.time:
            raise ValueError(f"x and time cannot both be the input {self.x}")
        return self


DecoderSpec = Annotated[DirectDecoder | FlowDecoder, Field(discriminator="type")]


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

# SPDX-License-Identifier: Apache-2.0
"""The part of `policy.yaml` that says how outputs of graphs become actions.

Field by field this follows `core.decoders`; `docs/bundles.md` has an example per policy family.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from levine_policy_node.runtime.graph_schema import STEP, TensorName
from levine_policy_node.runtime.image_schema import Positive
from levine_policy_node.runtime.planner_schema import CemDecoder, MppiDecoder
from levine_policy_node.runtime.token_schema import AutoregressiveDecoder, BinsDecoder
from levine_policy_node.strict_model import Strict

Pair = Annotated[tuple[float, float], Field(strict=False)]
Shape = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1, max_length=4)]
Steps = Annotated[int, Field(ge=1, le=1000)]


class DirectDecoder(Strict):
    """The graph's output is the action chunk; `output` may be left out when there is one.

    Attributes:
        graph: Role of the graph that is run.
        output: (1, T, A), or (1, A) when T is 1.
        index: The row to take from an output with more, where T is 1; -1 is the last.
        columns: A, where several decoders share the action.
    """

    type: Literal["direct"]
    graph: TensorName = STEP
    output: TensorName | None = None
    index: int | None = None
    columns: Positive | None = None


class FlowDecoder(Strict):
    """Euler steps from noise to actions along the velocity that `step` predicts.

    Attributes:
        steps: Euler steps.
        x: Input of `step` for the sample, (1, T, A).
        time: Input of `step` for the flow time: () or (1,), or (1, T) for a time per row.
        velocity: Output of `step`, (1, T, A); may be left out when there is one.
        shape: (T, A) of the sample, where A is padded; else chunk.size and the action's columns.
        columns: A, where several decoders share the action.
    """

    type: Literal["flow"]
    steps: Steps = 10
    x: TensorName = "x_t"
    time: TensorName = "timestep"
    velocity: TensorName | None = None
    shape: Annotated[tuple[Positive, Positive], Field(strict=False)] | None = None
    columns: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> FlowDecoder:
        if self.x == self.time:
            raise ValueError(f"x and time cannot both be the input {self.x}")
        return self


class GaussianDecoder(Strict):
    """The mean of a Gaussian, or a draw from it.

    Attributes:
        graph: Role of the graph that is run.
        mean: Output, (1, T, A), or (1, A) when T is 1.
        log_std: Output of the same shape, used when not `deterministic`.
        squash: `tanh` unless the graph does it.
        deterministic: Whether the mean is taken.
        log_std_range: Bounds of `log_std`; -20 and 2 as in stable-baselines3 unless given.
        columns: A, where several decoders share the action.
    """

    type: Literal["gaussian"]
    graph: TensorName = STEP
    mean: TensorName = "mean"
    log_std: TensorName | None = "log_std"
    squash: Literal["tanh", "none"] = "tanh"
    deterministic: bool = True
    log_std_range: Pair = (-20.0, 2.0)
    columns: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> GaussianDecoder:
        if self.log_std is None and not self.deterministic:
            raise ValueError("deterministic: false needs the output log_std")
        if self.log_std_range[0] > self.log_std_range[1]:
            raise ValueError(f"log_std_range {list(self.log_std_range)} is empty")
        return self


class ArgmaxDecoder(Strict):
    """The choice with the largest output.

    Attributes:
        graph: Role of the graph that is run.
        output: Scores, (1, T, n), or (1, n) when T is 1; may be left out when there is one.
        values: What each of the n choices means: a number, or one per column.
    """

    type: Literal["argmax"]
    graph: TensorName = STEP
    output: TensorName | None = None
    values: Annotated[
        tuple[float | Annotated[tuple[float, ...], Field(strict=False, min_length=1)], ...],
        Field(strict=False, min_length=2),
    ]

    @model_validator(mode="after")
    def _check(self) -> ArgmaxDecoder:
        if len({len(v) if isinstance(v, tuple) else 0 for v in self.values}) > 1:
            raise ValueError("values: all choices must have the same number of columns")
        return self

    @property
    def columns(self) -> int:
        """A."""
        first = self.values[0]
        return len(first) if isinstance(first, tuple) else 1


class DiffusionDecoder(Strict):
    """Denoising steps from noise to actions, as diffusers' schedulers or as Octo.

    Attributes:
        scheduler: `ddpm` or `ddim`.
        steps: Denoising steps.
        num_train_timesteps: Timesteps in training.
        beta_schedule: How noise grew in training; the next two are for the other schedules.
        beta_start: Smallest beta.
        beta_end: Largest beta.
        prediction: What the graph predicts.
        clip_sample: Bound of every value, null for none.
        clip_on: What is clipped: the predicted `original` (diffusers) or the `sample` (Octo).
        variance: Of the noise that DDPM adds.
        eta: Share of DDPM's noise in DDIM.
        set_alpha_to_one: Whether DDIM ends without noise.
        shape: Of the sample, without the batch axis; else chunk.size and the action's columns.
        index: Window of the sample that is the action; -1 is the last.
        samples: Samples drawn together, of which the first is the action.
        padding: `noise` to set columns beyond the action's to training noise (Octo).
        sample: Input of `step` for the sample, (samples, *shape).
        timestep: Input of `step` for the timestep, of any shape with one value.
        output: Output of `step`; may be left out when there is one.
        columns: A, where several decoders share the action.
    """

    type: Literal["diffusion"]
    scheduler: Literal["ddpm", "ddim"]
    steps: Steps
    num_train_timesteps: Steps = 100
    beta_schedule: Literal["squaredcos_cap_v2", "linear", "scaled_linear"] = "squaredcos_cap_v2"
    beta_start: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-4
    beta_end: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.02
    prediction: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    clip_sample: Annotated[float, Field(gt=0.0)] | None = 1.0
    clip_on: Literal["original", "sample"] = "original"
    variance: Literal["fixed_small", "fixed_large"] = "fixed_small"
    eta: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    set_alpha_to_one: bool = True
    shape: Shape | None = None
    index: int | None = None
    samples: Annotated[int, Field(ge=1, le=1024)] = 1
    padding: Literal["sampled", "noise"] = "sampled"
    sample: TensorName = "sample"
    timestep: TensorName = "timestep"
    output: TensorName | None = None
    columns: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> DiffusionDecoder:
        if self.sample == self.timestep:
            raise ValueError(f"sample and timestep cannot both be the input {self.sample}")
        if self.steps > self.num_train_timesteps:
            raise ValueError(
                f"steps {self.steps} is more than num_train_timesteps {self.num_train_timesteps}"
            )
        of_ddim = {"eta", "set_alpha_to_one"} & self.model_fields_set
        if self.scheduler == "ddpm" and of_ddim:
            raise ValueError(f"{', '.join(sorted(of_ddim))}: only scheduler ddim has it")
        if self.scheduler == "ddim" and "variance" in self.model_fields_set:
            raise ValueError("variance: only scheduler ddpm has it; see eta")
        windows = self.shape[0] if self.shape is not None else 0
        if self.index is not None and not -windows <= self.index < windows:
            raise ValueError(f"index {self.index} is no window of shape {self.shape}")
        return self


OneDecoder = Annotated[
    DirectDecoder
    | FlowDecoder
    | GaussianDecoder
    | ArgmaxDecoder
    | BinsDecoder
    | AutoregressiveDecoder
    | DiffusionDecoder
    | CemDecoder
    | MppiDecoder,
    Field(discriminator="type"),
]
PerRow = DirectDecoder | GaussianDecoder | ArgmaxDecoder | BinsDecoder
"""Decoders that run one graph once."""


def _several(value: Any) -> str:
    return "several" if isinstance(value, (list, tuple)) else "one"


DecoderSpec = Annotated[
    Annotated[OneDecoder, Tag("one")]
    | Annotated[
        tuple[OneDecoder, ...], Field(strict=False, min_length=2, max_length=8), Tag("several")
    ],
    Discriminator(_several),
]


def decoder_roles(spec: OneDecoder) -> set[str]:
    """Roles of the graphs that a decoder runs, besides `encode`."""
    return {spec.graph} if isinstance(spec, PerRow) else {STEP}


def decoder_columns(spec: tuple[OneDecoder, ...], total: int) -> tuple[int, ...]:
    """Columns of every decoder; one may leave its own open and gets what is left.

    Raises:
        ValueError: If they do not add up to `total`.
    """
    given = [one.columns for one in spec]
    known = sum(columns for columns in given if columns is not None)
    left = total - known
    if given.count(None) > 1:
        raise ValueError("several decoders share the action; give columns of all but one")
    if (None not in given and left != 0) or (None in given and left < 1):
        raise ValueError(
            f"decoder: columns add up to {known}, but action.parts has {total} columns"
        )
    return tuple(left if columns is None else columns for columns in given)

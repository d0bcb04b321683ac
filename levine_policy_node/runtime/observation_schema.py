# SPDX-License-Identifier: Apache-2.0
"""The parts of `policy.yaml` that say what each graph input is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from levine_policy_node.runtime.image_schema import ImageSpec, Positive
from levine_policy_node.strict_model import Strict


def unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse names that are given twice."""
    if len(set(names)) != len(names):
        raise ValueError("a name is given twice")
    return names


JointNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1), AfterValidator(unique)]
Numbers = float | Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
Normalize = Literal["mean_std", "min_max"]
PolicyKind = Literal[
    "policy/noise",
    "policy/action_prefix",
    "policy/inference_delay",
    "policy/execution_horizon",
    "policy/max_guidance_weight",
]
POLICY_KINDS: tuple[PolicyKind, ...] = get_args(PolicyKind)


class JointTerm(Strict):
    """Joint positions [rad] or velocities [rad/s], by name, times `scale` plus `offset`."""

    kind: Literal["state/joint/position", "state/joint/velocity"]
    names: JointNames
    scale: Numbers = 1.0
    offset: Numbers = 0.0

    @model_validator(mode="after")
    def _check(self) -> JointTerm:
        check_numbers(self.scale, self.offset, len(self.names))
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


class PolicyInput(Strict):
    """A graph input that the runtime makes.

    Attributes:
        kind: `policy/noise`: standard normal, (1, T, dim). `policy/action_prefix`: what will be
            played meanwhile in the network's unit, (1, T, dim), zero beyond what is known.
            `policy/inference_delay`: how many rows of it will have been played, () or (1,).
            `policy/execution_horizon` and `policy/max_guidance_weight`: of `chunk.rtc`, () or
            (1,); the horizon is at most the known rows.
        dim: Columns; those of the action unless given, which may be more (padding).
        dtype: What the graph declares, checked if given.
        tensor: Graph input name when it differs from the key.
    """

    kind: PolicyKind
    dim: Positive | None = None
    dtype: Literal["float32", "int32", "int64"] | None = None
    tensor: str | None = None


def _observation_tag(value: Any) -> str | None:
    if isinstance(value, TermsObservation):
        return "terms"
    if not isinstance(value, dict):
        kind = getattr(value, "kind", None)
        return "policy" if kind in POLICY_KINDS else kind
    if ("terms" in value) == ("kind" in value):
        return None
    tag = "terms" if "terms" in value else str(value["kind"])  # pyright: ignore
    return "policy" if tag in POLICY_KINDS else tag


ObservationSpec = Annotated[
    Annotated[JointObservation, Tag("state/joint/position")]
    | Annotated[JointObservation, Tag("state/joint/velocity")]
    | Annotated[ImageObservation, Tag("sensor/image")]
    | Annotated[TermsObservation, Tag("terms")]
    | Annotated[PolicyInput, Tag("policy")],
    Discriminator(
        _observation_tag,
        custom_error_type="observation_kind",
        custom_error_message=(
            "give 'terms' or a 'kind' this version supports: "
            f"state/joint/position, state/joint/velocity, sensor/image, {', '.join(POLICY_KINDS)}"
        ),
    ),
]


def check_numbers(scale: Numbers, offset: Numbers, count: int) -> None:
    """Refuse a list of another length than the names it is for."""
    for field, value in (("scale", scale), ("offset", offset)):
        if isinstance(value, tuple) and len(value) != count:
            raise ValueError(f"{field}: {len(value)} values for {count} names")

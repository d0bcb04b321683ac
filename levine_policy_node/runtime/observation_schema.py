# SPDX-License-Identifier: Apache-2.0
"""The parts of `policy.yaml` that say what each graph input is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from levine_policy_node.runtime.body_schema import BODY_KINDS, BodyTerm
from levine_policy_node.runtime.column_schema import Numbers, check_numbers
from levine_policy_node.runtime.goal_schema import GoalTerm
from levine_policy_node.runtime.history_schema import History
from levine_policy_node.runtime.image_schema import ImageSpec, Positive
from levine_policy_node.runtime.language_schema import (
    EmbeddingObservation,
    LanguageObservation,
    TextObservation,
)
from levine_policy_node.runtime.made_schema import POLICY_KINDS, PolicyInput, ReturnToGo, Timestep
from levine_policy_node.strict_model import Strict


def unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse names that are given twice."""
    if len(set(names)) != len(names):
        raise ValueError("a name is given twice")
    return names


JointNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1), AfterValidator(unique)]
Normalize = Literal["mean_std", "min_max", "quantiles"]
Mask = Annotated[tuple[bool, ...], Field(strict=False, min_length=1)]


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


GripperName = Annotated[
    tuple[str, ...], Field(strict=False, max_length=1, description="its joint")
]


class GripperEnds(Strict):
    """What a number says of a gripper.

    Attributes:
        names: Its joint; the robot's only gripper unless given.
        closed: The number when the gripper is closed, as the robot file says which end that is.
        open: The number when it is open.
    """

    names: GripperName = ()
    dim: Literal[1] = 1
    closed: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    open: Annotated[float, Field(allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> GripperEnds:
        if self.closed == self.open:
            raise ValueError("closed and open must differ")
        return self


class GripperTerm(GripperEnds):
    """How far a gripper is open, from `closed` to `open`."""

    kind: Literal["state/gripper/position"]


class ActionTerm(Strict):
    """The action of the period before, as the network gave it; zeros at the beginning.

    Attributes:
        dim: Columns of the action, checked if given.
    """

    kind: Literal["feedback/action"]
    dim: Positive | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """No joint is observed."""
        return ()


Term = JointTerm | GripperTerm | BodyTerm | GoalTerm | ActionTerm


class _VectorInput(Strict):
    """What graph inputs made of numbers have in common.

    Attributes:
        normalize: How they were normalised in training; `quantiles` has q01 at -1, q99 at 1.
        normalize_mask: Which of them were; the others are given as they are.
        clip: Smallest and largest number the network is given, after the normalisation.
        pad: Columns of the input; those beyond what is observed are zero (pi0's 32).
    """

    normalize: Normalize | None = None
    normalize_mask: Mask | None = None
    clip: Annotated[tuple[float, float], Field(strict=False)] | None = None
    pad: Positive | None = None
    history: History | None = None
    tensor: str | None = None

    @model_validator(mode="after")
    def _check_numbers(self) -> _VectorInput:
        if self.normalize_mask is not None and self.normalize is None:
            raise ValueError("normalize_mask: needs normalize")
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError("clip: the first value must be below the second")
        return self


class JointObservation(JointTerm, _VectorInput):
    """A graph input made of one joint quantity."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The one term, so that all vectors are read alike."""
        return (self,)


class GripperObservation(GripperTerm, _VectorInput):
    """A graph input made of a gripper's opening."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The one term."""
        return (self,)


class BodyObservation(BodyTerm, _VectorInput):
    """A graph input made of the hand's pose or velocity."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The one term."""
        return (self,)


class GoalObservation(GoalTerm, _VectorInput):
    """A graph input made of a goal."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The one term."""
        return (self,)


class ActionObservation(ActionTerm, _VectorInput):
    """A graph input made of the last actions.

    Attributes:
        placeholder: The newest row is zero and stands for the action that is asked for; the one
            before it is the last action (Decision Transformer).
    """

    placeholder: bool = False

    @property
    def terms(self) -> tuple[Term, ...]:
        """The one term."""
        return (self,)

    @model_validator(mode="after")
    def _check(self) -> ActionObservation:
        if self.placeholder and (self.history is None or self.history.axis != "time"):
            raise ValueError("placeholder needs a history along the time axis")
        if self.normalize is not None:
            raise ValueError("normalize: the action is given as the network gave it; remove it")
        return self


class TermsObservation(_VectorInput):
    """A graph input that concatenates several quantities."""

    terms: Annotated[
        tuple[Annotated[Term, Discriminator("kind")], ...], Field(strict=False, min_length=1)
    ]


VectorObservation = (
    JointObservation | GripperObservation | BodyObservation | GoalObservation | ActionObservation
)


class ImageObservation(Strict):
    """A graph input made of one camera's frame; `camera` defaults to the key's last part.

    A goal (`command/image`) is the newest image of the camera `goal`, however old.

    Attributes:
        absent: No robot has such a camera: always black, and the mask says that it is missing.
    """

    kind: Literal["sensor/image", "command/image"]
    image: ImageSpec
    camera: str | None = None
    absent: bool = False
    history: History | None = None
    tensor: str | None = None

    @property
    def is_goal(self) -> bool:
        """Whether it shows what is wanted, not what is seen."""
        return self.kind == "command/image"


_GROUPS = {**dict.fromkeys(POLICY_KINDS, "policy"), **dict.fromkeys(BODY_KINDS, "body")}


def _observation_tag(value: Any) -> str | None:
    if isinstance(value, TermsObservation):
        return "terms"
    if not isinstance(value, dict):
        kind = getattr(value, "kind", None)
        return _GROUPS.get(str(kind), kind)
    if ("terms" in value) == ("kind" in value):
        return None
    tag = "terms" if "terms" in value else str(value["kind"])  # pyright: ignore
    return _GROUPS.get(tag, tag)


def _together(kinds: tuple[str, ...]) -> str:
    """Kinds that differ in their last part only."""
    return f"{kinds[0].rpartition('/')[0]}/({'|'.join(k.rpartition('/')[2] for k in kinds)})"


ObservationSpec = Annotated[
    Annotated[JointObservation, Tag("state/joint/position")]
    | Annotated[JointObservation, Tag("state/joint/velocity")]
    | Annotated[GripperObservation, Tag("state/gripper/position")]
    | Annotated[BodyObservation, Tag("body")]
    | Annotated[GoalObservation, Tag("command/body/position")]
    | Annotated[ActionObservation, Tag("feedback/action")]
    | Annotated[ImageObservation, Tag("sensor/image")]
    | Annotated[ImageObservation, Tag("command/image")]
    | Annotated[LanguageObservation, Tag("command/language")]
    | Annotated[EmbeddingObservation, Tag("command/embedding")]
    | Annotated[TextObservation, Tag("command/text")]
    | Annotated[ReturnToGo, Tag("policy/return_to_go")]
    | Annotated[Timestep, Tag("policy/timestep")]
    | Annotated[TermsObservation, Tag("terms")]
    | Annotated[PolicyInput, Tag("policy")],
    Discriminator(
        _observation_tag,
        custom_error_type="observation_kind",
        custom_error_message=(
            "give 'terms' or a 'kind' this version supports: state/joint/(position|velocity), "
            f"{_together(BODY_KINDS)}, state/gripper/position, feedback/action, "
            "sensor/image, command/(body/position|image|language|embedding|text), "
            f"policy/return_to_go, policy/timestep, {_together(POLICY_KINDS)}"
        ),
    ),
]

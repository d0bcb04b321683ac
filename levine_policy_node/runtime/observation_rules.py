# SPDX-License-Identifier: Apache-2.0
"""What the observations of a document must be, beyond what each of them says."""

from __future__ import annotations

from collections.abc import Mapping

from levine_policy_node.runtime.body_schema import BodyTerm
from levine_policy_node.runtime.goal_schema import GoalTerm
from levine_policy_node.runtime.history_schema import HistorySpec
from levine_policy_node.runtime.language_schema import LanguageObservation
from levine_policy_node.runtime.observation_schema import (
    ActionTerm,
    GripperTerm,
    ImageObservation,
    ObservationSpec,
    Term,
    TermsObservation,
    VectorObservation,
)

Vector = VectorObservation | TermsObservation


def vector_of(spec: ObservationSpec) -> Vector | None:
    """The observation if it is made of numbers that are measured or fed back."""
    return spec if isinstance(spec, Vector) else None


def vector_width(spec: Vector, columns: int) -> int:
    """How many numbers an observation has, of a policy with `columns` in its action."""
    return sum(term_widths(spec, columns))


def term_widths(spec: Vector, columns: int) -> tuple[int, ...]:
    """How many numbers each term has."""
    return tuple(_term_width(term, columns) for term in spec.terms)


def _term_width(term: Term, columns: int) -> int:
    if isinstance(term, ActionTerm):
        return columns
    if isinstance(term, BodyTerm):
        return term.width
    if isinstance(term, GoalTerm):
        return term.dim
    return 1 if isinstance(term, GripperTerm) else len(term.names)


def named_state(observations: Mapping[str, ObservationSpec], name: str) -> str:
    """The vector that a template calls `name`: that key, or the one that ends with `.name`.

    Raises:
        ValueError: If there is none, or more than one.
    """
    vectors = [key for key, spec in observations.items() if vector_of(spec) is not None]
    found = [key for key in vectors if key == name] or [
        key for key in vectors if key.rsplit(".", 1)[-1] == name
    ]
    if len(found) != 1:
        raise ValueError(
            f"template: {{{name}:bins}} names {'no' if not found else 'more than one'} "
            f"observation; there are {', '.join(vectors) or 'none'}"
        )
    return found[0]


def check_observations(
    observations: Mapping[str, ObservationSpec], columns: int, taken: set[str]
) -> None:
    """Refuse observations that contradict each other or the action.

    Args:
        observations: By feature name.
        columns: Columns of the action.
        taken: Graph inputs that something else feeds.

    Raises:
        ValueError: With the first contradiction.
    """
    inputs = [getattr(spec, "tensor", None) or key for key, spec in observations.items()]
    masks: dict[str, object] = {}
    for key, spec in observations.items():
        history = getattr(spec, "history", None)
        if isinstance(history, HistorySpec):
            _check_history(key, spec, history)
            _note_mask(masks, key, history.mask, ("history", history.steps))
        if isinstance(spec, ImageObservation):
            _check_image(key, spec)
            _note_mask(masks, key, spec.image.mask, ("image", key))
        if isinstance(spec, LanguageObservation):
            _note_mask(masks, key, spec.text.mask, ("text", key))
            for name in spec.text.states:
                named_state(observations, name)
        vector = vector_of(spec)
        if vector is not None:
            _check_vector(key, vector, columns)
    for name in masks:
        if name in inputs or name in taken:
            raise ValueError(f"observations: input {name} is a mask and something else")


def _check_vector(key: str, spec: Vector, columns: int) -> None:
    for term in spec.terms:
        dim = term.dim if isinstance(term, ActionTerm) else None
        if dim is not None and dim != columns:
            raise ValueError(
                f"observations.{key}.dim: {dim}, but the action has {columns} columns"
            )
    width = vector_width(spec, columns)
    if spec.pad is None:
        return
    if spec.pad < width:
        raise ValueError(f"observations.{key}.pad: {spec.pad}, but {width} numbers are observed")
    if spec.history is not None and spec.history.axis == "flat":
        raise ValueError(f"observations.{key}.pad: moments that lie flat have no columns to pad")


def _note_mask(masks: dict[str, object], key: str, name: str | None, means: object) -> None:
    if name is not None and masks.setdefault(name, means) != means:
        raise ValueError(f"observations.{key}: mask {name} is already that of something else")


def _check_history(key: str, spec: ObservationSpec, history: HistorySpec) -> None:
    field = f"observations.{key}.history"
    if isinstance(spec, ImageObservation):
        if history.axis == "flat":
            raise ValueError(f"{field}.axis: flat is for vectors; images have time or channel")
        if spec.is_goal:
            raise ValueError(f"{field}: a goal has no history")
    elif history.axis == "channel":
        raise ValueError(f"{field}.axis: channel is for images; vectors have time or flat")
    terms = getattr(spec, "terms", ())
    if history.axis == "flat" and (len(terms) > 1) != (history.order is not None):
        raise ValueError(
            f"{field}.order: "
            + (
                "say 'moment' (all terms of one moment lie together) or 'term' (all moments of "
                "one term do)"
                if len(terms) > 1
                else "there is only one term; remove it"
            )
        )


def _check_image(key: str, spec: ImageObservation) -> None:
    if spec.absent and spec.camera is not None:
        raise ValueError(f"observations.{key}: is absent and has a camera")
    if spec.image.mask_missing and spec.image.mask is None:
        raise ValueError(f"observations.{key}.image: mask_missing needs mask")
    if spec.image.fill is not None and not (spec.image.optional or spec.absent):
        raise ValueError(f"observations.{key}.image: fill is for what is optional or absent")

# SPDX-License-Identifier: Apache-2.0
"""From an observation to the tensors of a graph, exactly as in training.

The same functions serve the live path, `levine eval --direct` and the golden test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.history_axis import HistoryAxis
from levine_policy_node.core.moments import Moment
from levine_policy_node.core.normalization import Normalization
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import ObservationError
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.hand_kinematics import HandKinematics
from levine_policy_node.runtime.history_schema import HistorySpec
from levine_policy_node.runtime.image_schema import ImageSpec
from levine_policy_node.runtime.image_tensor import image_tensor
from levine_policy_node.runtime.observation_rules import term_widths
from levine_policy_node.runtime.observation_schema import (
    ActionObservation,
    ImageObservation,
)
from levine_policy_node.runtime.vector_terms import VectorTerm, vector_term


@dataclass(frozen=True, slots=True, eq=False)
class _Vector:
    terms: tuple[VectorTerm, ...]
    normalization: Normalization | None
    clip: tuple[float, float] | None
    width: int
    padded: int
    axis: HistoryAxis | None
    placeholder: bool

    def tensor(self, moments: Sequence[Moment], name: str) -> npt.NDArray[Any]:
        shown = moments[-1:] if self.axis is None else moments[-self.axis.steps :]
        beyond = (0, self.padded - self.width)
        rows = [np.pad(self.values(moment, name), beyond) for moment in shown]
        if self.placeholder:
            rows = [*rows[1:], np.zeros_like(rows[0])]
        return rows[-1][None] if self.axis is None else self.axis.tensor(rows)

    def values(self, moment: Moment, name: str) -> npt.NDArray[np.float32]:
        """What the network sees of one moment, shape (width,)."""
        values = np.concatenate([term.values(moment) for term in self.terms])
        if self.normalization is not None:
            values = self.normalization.apply(values)
        if not np.all(np.isfinite(values)):
            raise ObservationError(f"{name}: joint state is not finite")
        if self.clip is not None:
            values = np.clip(values, *self.clip)
        return values.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    camera: str | None
    spec: ImageSpec
    axis: HistoryAxis | None
    required: bool

    def tensor(self, moments: Sequence[Moment], name: str) -> npt.NDArray[Any]:
        shown = moments[-1:] if self.axis is None else moments[-self.axis.steps :]
        images = [self._one(moment, name) for moment in shown]
        return images[0] if self.axis is None else self.axis.tensor([i[0] for i in images])

    def _one(self, moment: Moment, name: str) -> npt.NDArray[Any]:
        seen = moment.observation.images
        if self.camera is not None and self.camera in seen:
            return image_tensor(seen[self.camera], self.spec)
        if self.camera is not None and self.required:
            raise ObservationError(f"{name}: no image of camera {self.camera}")
        if self.spec.fill is not None:
            return np.full((1, *self.spec.shape), self.spec.fill, dtype=self.spec.dtype)
        height, width = self.spec.size
        whole = self.spec.model_copy(update={"crop": self.spec.centre_crop})
        return image_tensor(np.zeros((height, width, 3), dtype=np.uint8), whole)


class Preprocessor:
    """Builds the graph inputs that a bundle asks for, of what is measured.

    Args:
        bundle: A bundle that fits a robot with these joints.
        joint_names: The joint order of observations.
        gripper_ends: Where every gripper is closed and where open [rad], by joint.
        hand: Kinematics of the hand, for policies that observe it.
    """

    def __init__(
        self,
        bundle: Bundle,
        joint_names: Sequence[str],
        gripper_ends: Mapping[str, tuple[float, float]] | None = None,
        hand: HandKinematics | None = None,
    ) -> None:
        document = bundle.document
        columns = document.action.columns
        self._parts: dict[str, _Image | _Vector] = {}
        self._names = {key: s.tensor or key for key, s in document.observations.items()}
        for feature, spec in document.observations.items():
            if isinstance(spec, ImageObservation):
                channel = 0 if spec.image.layout == "chw" else 2
                axis = history_axis(spec.history, channel=channel)
                self._parts[self._names[feature]] = _Image(
                    document.cameras.get(feature),
                    spec.image,
                    axis,
                    # A camera that the robot has and that fails is a fault, optional or not.
                    required=not (spec.is_goal and spec.image.optional),
                )
        for feature, spec in document.vectors.items():
            widths = term_widths(spec, columns)
            self._parts[self._names[feature]] = _Vector(
                terms=tuple(
                    vector_term(term, joint_names, gripper_ends or {}, hand) for term in spec.terms
                ),
                normalization=bundle.normalizations.get(feature),
                clip=spec.clip,
                width=sum(widths),
                padded=spec.pad or sum(widths),
                axis=history_axis(spec.history, widths=widths),
                placeholder=isinstance(spec, ActionObservation) and spec.placeholder,
            )

    @property
    def shapes(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """Shape with batch axis and dtype of every tensor this builds."""
        shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        for name, part in self._parts.items():
            one = part.spec.shape if isinstance(part, _Image) else (part.padded,)
            shape = (1, *one) if part.axis is None else part.axis.shape(one)
            shapes[name] = (shape, part.spec.dtype if isinstance(part, _Image) else "float32")
        return shapes

    def tensors(self, now: Observation | Sequence[Moment]) -> dict[str, npt.NDArray[Any]]:
        """Build the graph inputs.

        Args:
            now: The moments that the policy sees, oldest first; or an observation, for a policy
                that sees the present only.

        Raises:
            ObservationError: If an observation lacks a camera or the joint velocities, or has a
                value that is not finite.
        """
        moments = (Moment(now),) if isinstance(now, Observation) else now
        return {name: part.tensor(moments, name) for name, part in self._parts.items()}

    def numbers(self, feature: str, now: Moment) -> FloatArray:
        """What the network sees of a vector at one moment, shape (n,)."""
        part = self._parts[self._names[feature]]
        if not isinstance(part, _Vector):
            raise KeyError(feature)
        return part.values(now, feature).astype(np.float64)


def history_axis(
    spec: HistorySpec | None, channel: int = 0, widths: tuple[int, ...] = ()
) -> HistoryAxis | None:
    """How the moments of an observation lie in its tensor; None for the present only."""
    if spec is None:
        return None
    by_term = widths if spec.order == "term" else ()
    return HistoryAxis(spec.steps, spec.axis, spec.pad, channel, by_term)

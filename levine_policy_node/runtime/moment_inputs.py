# SPDX-License-Identifier: Apache-2.0
"""Graph inputs beside what is measured: masks, tasks, the return to go, the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.history_axis import HistoryAxis
from levine_policy_node.core.moments import Moment
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.history_schema import HistorySpec
from levine_policy_node.runtime.language_schema import EmbeddingObservation, LanguageObservation
from levine_policy_node.runtime.made_schema import ReturnToGo, Timestep
from levine_policy_node.runtime.observation_rules import named_state
from levine_policy_node.runtime.observation_schema import ImageObservation
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.preprocess import Preprocessor, history_axis
from levine_policy_node.runtime.tensor_info import TensorInfo
from levine_policy_node.runtime.text_inputs import Embeddings, Prompt

Tensor = npt.NDArray[Any]
Make = Callable[[Sequence[Moment]], Tensor]

_MASKS = ("bool", "float32", "int64", "int32", "uint8")
_WHOLE = ("int64", "int32")
_WARM_UP_TASK = "go"


class MomentInputs:
    """Makes the inputs that a document names and a camera or joint does not give.

    Raises:
        BundleError: If no graph has such an input, it declares another shape or type, or a
            tokenizer or table cannot be read.
    """

    def __init__(self, bundle: Bundle, graphs: OnnxGraphs, preprocessor: Preprocessor) -> None:
        self._bundle, self._graphs, self._preprocessor = bundle, graphs, preprocessor
        self._makers: dict[str, Make] = {}
        self._tokens: dict[str, tuple[LanguageObservation, Prompt]] = {}
        self.warm_up_task = _WARM_UP_TASK
        for key, spec in bundle.document.observations.items():
            name = getattr(spec, "tensor", None) or key
            if isinstance(spec, ReturnToGo):
                self._add_return(key, name, spec)
            elif isinstance(spec, Timestep):
                self._add_timestep(key, name, spec)
            elif isinstance(spec, EmbeddingObservation):
                self._add_embedding(key, name, spec)
            elif isinstance(spec, LanguageObservation):
                self._add_language(key, name, spec)
            elif isinstance(spec, ImageObservation) and spec.image.mask is not None:
                self._add_image_mask(key, spec, spec.image.mask)
            history: HistorySpec | None = getattr(spec, "history", None)
            if history is not None and history.mask is not None:
                self._add_history_mask(key, history.steps, history.mask)

    @property
    def names(self) -> frozenset[str]:
        """Graph inputs this makes."""
        masks = {s.text.mask for s, _ in self._tokens.values() if s.text.mask is not None}
        return frozenset({*self._makers, *self._tokens, *masks})

    @property
    def prompted(self) -> frozenset[str]:
        """Observations that a text names, which no graph needs to have."""
        observed = self._bundle.document.observations
        return frozenset(
            named_state(observed, name)
            for spec, _ in self._tokens.values()
            for name in spec.text.states
        )

    def tensors(self, moments: Sequence[Moment]) -> dict[str, Tensor]:
        """The inputs of one inference.

        Raises:
            ObservationError: If there is no task, or none that the policy can be told.
        """
        tensors = {name: make(moments) for name, make in self._makers.items()}
        now = moments[-1]

        def numbers(state: str) -> npt.NDArray[np.float64]:
            return self._state(state, now)

        for name, (spec, prompt) in self._tokens.items():
            ids, seen = prompt.tokens(now.observation.task, numbers)
            tensors[name] = ids[None].astype(self._dtype(name, "int64"))
            if spec.text.mask is not None:
                mask = np.arange(len(ids)) < seen
                tensors[spec.text.mask] = mask[None].astype(self._dtype(spec.text.mask, "int64"))
        return tensors

    def _state(self, name: str, now: Moment) -> npt.NDArray[np.float64]:
        observed = self._bundle.document.observations
        return self._preprocessor.numbers(named_state(observed, name), now)

    def _dtype(self, name: str, otherwise: str) -> str:
        """What a graph declares; a prompt may be for the decoder only."""
        info = self._found(name)
        return otherwise if info is None else info[1].dtype

    def _found(self, name: str) -> tuple[str, TensorInfo] | None:
        for role in self._graphs.roles:
            if name in self._graphs.inputs(role):
                return self._graphs.file(role), self._graphs.inputs(role)[name]
        return None

    def _declared(
        self, key: str, name: str, dtypes: tuple[str, ...], shapes: Sequence[tuple[int, ...]]
    ) -> tuple[str, tuple[int, ...]]:
        """Type and shape of an input, of those that are possible."""
        found = self._found(name)
        if found is None:
            raise BundleError(
                self._graphs.file("step"),
                f"observations.{key}",
                f"no graph has an input {name}",
                "Name the input in its field 'tensor' (or 'mask')",
            )
        file, info = found
        fitting = [shape for shape in shapes if info.fits(shape)]
        if info.dtype not in dtypes or not fitting:
            raise BundleError(
                file,
                f"input {name}",
                f"is {info}, but observations.{key} gives {' or '.join(dtypes)} of shape "
                f"{' or '.join(str(list(shape)) for shape in shapes)}",
            )
        return info.dtype, fitting[0]

    def _add_history_mask(self, key: str, steps: int, name: str) -> None:
        dtype, shape = self._declared(key, name, _MASKS, [(1, steps)])
        axis = HistoryAxis(steps)
        self._makers[name] = lambda moments: axis.seen(len(moments)).reshape(shape).astype(dtype)

    def _add_image_mask(self, key: str, spec: ImageObservation, name: str) -> None:
        camera = self._bundle.document.cameras.get(key)
        axis = history_axis(spec.history)
        steps = 1 if axis is None else axis.steps
        shapes = [(1,), (1, 1)] if axis is None else [(1, steps)]
        dtype, shape = self._declared(key, name, _MASKS, shapes)
        missing = bool(spec.image.mask_missing)

        def make(moments: Sequence[Moment]) -> Tensor:
            there = camera is not None and camera in moments[-1].observation.images
            return np.full(shape, there != missing).astype(dtype)

        self._makers[name] = make

    def _add_return(self, key: str, name: str, spec: ReturnToGo) -> None:
        def value(moment: Moment) -> float:
            return (spec.target - spec.reward * moment.step) * spec.scale

        axis = history_axis(spec.history)
        shapes = [(1, 1), (1,)] if axis is None else [axis.shape((1,)), axis.shape(())]
        self._add_number(key, name, axis, value, (("float32",), shapes))

    def _add_timestep(self, key: str, name: str, spec: Timestep) -> None:
        def value(moment: Moment) -> float:
            return min(moment.step, spec.last)

        axis = history_axis(spec.history)
        shapes = [(1, 1), (1,)] if axis is None else [axis.shape(()), axis.shape((1,))]
        dtypes = (*_WHOLE, "float32") if spec.dtype is None else (spec.dtype,)
        self._add_number(key, name, axis, value, (dtypes, shapes))

    def _add_number(
        self,
        key: str,
        name: str,
        axis: HistoryAxis | None,
        value: Callable[[Moment], float],
        possible: tuple[tuple[str, ...], Sequence[tuple[int, ...]]],
    ) -> None:
        dtype, shape = self._declared(key, name, *possible)

        def make(moments: Sequence[Moment]) -> Tensor:
            numbers = [np.array(value(moment)) for moment in moments]
            made = numbers[-1] if axis is None else axis.tensor(numbers)
            return made.reshape(shape).astype(dtype)

        self._makers[name] = make

    def _add_embedding(self, key: str, name: str, spec: EmbeddingObservation) -> None:
        table = Embeddings(self._bundle, key, spec)
        self.warm_up_task = table.tasks[0]
        _, shape = self._declared(key, name, ("float32",), [(1, *table.shape), table.shape])
        self._makers[name] = lambda moments: table.embedding(moments[-1].observation.task).reshape(
            shape
        )

    def _add_language(self, key: str, name: str, spec: LanguageObservation) -> None:
        tokens = [(1, spec.text.max_length or 1)]
        decoded = getattr(self._bundle.document.decoders[0], "ids", None)
        if name != decoded:
            self._declared(key, name, _WHOLE, tokens)
            if spec.text.mask is not None:
                self._declared(key, spec.text.mask, _MASKS, tokens)
        self._tokens[name] = (spec, Prompt(self._bundle, spec.text))

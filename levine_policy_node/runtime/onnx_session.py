# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph on ONNX Runtime, ready to run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.observation import Tensors
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.runtime.onnx_binding import Binding, DeviceTensor
from levine_policy_node.runtime.onnx_loader import (
    GraphFiles,
    OnnxOptions,
    declared,
    make_session,
)
from levine_policy_node.runtime.onnx_providers import Place
from levine_policy_node.runtime.ort import ORT_ERRORS, RunLimit, one_line
from levine_policy_node.runtime.tensor_info import TensorInfo

_HALF, _FULL = "float16", "float32"


class OnnxSession:
    """One graph, ready to run.

    Half floats are float32 to whoever runs it.

    Attributes:
        file: For messages.
        inputs: What it takes, by name.
        outputs: What it returns, by name.

    Args:
        graph: Its bytes.
        place: Where it runs.
        options: How it is run.
        kept: Outputs that other graphs take, which stay on the device.
        repeated: Whether it runs many times in an inference, so that recording it pays.

    Raises:
        BundleError: If ONNX Runtime cannot load it as it is asked to.
    """

    def __init__(
        self,
        graph: GraphFiles,
        place: Place,
        options: OnnxOptions,
        kept: Collection[str] = (),
        *,
        repeated: bool = False,
    ) -> None:
        self.file = graph.file
        self._session = make_session(graph, place, options)
        given = declared(self._session.get_inputs())
        returned = declared(self._session.get_outputs())
        self._halves = frozenset(name for name, info in given.items() if info.dtype == _HALF)
        self.inputs = {name: _full(info) for name, info in given.items()}
        self.outputs = {name: _full(info) for name, info in returned.items()}
        self._widened = frozenset(name for name, info in returned.items() if info.dtype == _HALF)
        self._names = list(self.outputs)
        self._binding: Binding | None = None
        if place == "cpu":
            return
        fixed = all(info.fixed for info in (*given.values(), *returned.values()))
        captured = place == "cuda" and repeated and fixed and self._capture(graph, options)
        self._binding = Binding(self._session, given, returned, kept, "cuda", captured=captured)

    def run(self, tensors: Tensors, limit: RunLimit) -> dict[str, npt.NDArray[Any]]:
        """Run once, on those of `tensors` that the graph takes.

        Raises:
            InferenceError: If it fails, or was stopped.
        """
        feed = {name: tensors[name] for name in self.inputs}
        for name in self._halves:
            feed[name] = _narrowed(feed[name])
        try:
            if self._binding is not None:
                outputs = self._binding.run(feed, limit)
            else:
                values = self._session.run(self._names, feed, limit.options)
                outputs = dict(zip(self._names, values, strict=True))
        except ORT_ERRORS as error:
            raise InferenceError(f"{self.file}: {one_line(error)}") from error
        for name in self._widened:
            outputs[name] = _widened(outputs[name])
        return outputs

    def _capture(self, graph: GraphFiles, options: OnnxOptions) -> bool:
        """Have the session record a CUDA graph; not every graph can be recorded."""
        # Not two on the device at a time.
        del self._session
        try:
            self._session = make_session(graph, "cuda", options, capture=True)
        except BundleError:
            self._session = make_session(graph, "cuda", options)
            return False
        return True


def _full(info: TensorInfo) -> TensorInfo:
    return TensorInfo(_FULL, info.shape) if info.dtype == _HALF else info


def _narrowed(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As the graph takes it; what another graph left on the device is so already."""
    if isinstance(value, DeviceTensor):
        return value
    # What is too large for a half float is infinite, and so is what comes of it.
    with np.errstate(over="ignore"):
        return value.astype(np.float16, copy=False)


def _widened(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return value if isinstance(value, DeviceTensor) else value.astype(np.float32)

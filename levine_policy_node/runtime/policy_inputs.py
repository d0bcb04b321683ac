# SPDX-License-Identifier: Apache-2.0
"""Graph inputs that the runtime makes: noise, and what a graph needs for real-time chunking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.decoder_schema import FlowDecoder
from levine_policy_node.runtime.graph_schema import (
    DEFAULT_HORIZON,
    DEFAULT_MAX_WEIGHT,
    RtcSpec,
)
from levine_policy_node.runtime.made_schema import PolicyInput, PolicyKind
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.tensor_info import TensorInfo

# Names under which exporters write these inputs, besides the key in policy.yaml.
_SYNONYMS: dict[PolicyKind, tuple[str, ...]] = {
    "policy/noise": ("noise",),
    "policy/action_prefix": ("action_prefix", "prev_chunk_left_over"),
    "policy/inference_delay": ("inference_delay", "delay"),
    "policy/execution_horizon": ("execution_horizon",),
    "policy/max_guidance_weight": ("max_guidance_weight",),
}
_ROWS: tuple[PolicyKind, ...] = ("policy/noise", "policy/action_prefix")
_WHOLE: tuple[PolicyKind, ...] = ("policy/inference_delay", "policy/execution_horizon")


@dataclass(frozen=True, slots=True)
class _Input:
    kind: PolicyKind
    shape: tuple[int, ...]
    dtype: str


class PolicyInputs:
    """Makes the inputs of kind `policy/...` that a document names.

    Raises:
        BundleError: If no graph has such an input, or it declares another shape or type.
    """

    def __init__(self, document: BundleDocument, graphs: OnnxGraphs) -> None:
        self._document = document
        self._graphs = graphs
        self._rtc = document.rtc or RtcSpec(mode="graph")
        self._inputs: dict[str, _Input] = {}
        for key, spec in document.policy_inputs.items():
            name, file, info = self._declared(key, spec)
            self._inputs[name] = self._resolved(spec, name, file, info)

    @property
    def names(self) -> frozenset[str]:
        """Graph inputs this makes."""
        return frozenset(self._inputs)

    def tensors(self, noise: Noise, prefix: NetworkPrefix | None) -> dict[str, npt.NDArray[Any]]:
        """The inputs of one inference; without a prefix, delay and horizon are 0."""
        tensors: dict[str, npt.NDArray[Any]] = {}
        for name, made in self._inputs.items():
            if made.kind == "policy/noise":
                tensors[name] = noise.draw(made.shape)
            elif made.kind == "policy/action_prefix":
                rows, columns = made.shape[1:]
                empty = np.zeros(made.shape, dtype=np.float32)
                tensors[name] = empty if prefix is None else prefix.padded(rows, columns)
            else:
                value = self._number(made.kind, prefix)
                tensors[name] = np.full(made.shape, value, dtype=made.dtype)
        return tensors

    def _number(self, kind: PolicyKind, prefix: NetworkPrefix | None) -> float:
        if kind == "policy/max_guidance_weight":
            return self._rtc.max_guidance_weight or DEFAULT_MAX_WEIGHT
        if prefix is None:
            return 0
        if kind == "policy/inference_delay":
            return prefix.delay
        return min(self._rtc.execution_horizon or DEFAULT_HORIZON, len(prefix.rows))

    def _declared(self, key: str, spec: PolicyInput) -> tuple[str, str, TensorInfo]:
        """Name, file and declaration of the graph input that `spec` is for."""
        tried = (spec.tensor,) if spec.tensor is not None else (key, *_SYNONYMS[spec.kind])
        for name in tried:
            for role in self._graphs.roles:
                if name in self._graphs.inputs(role):
                    return name, self._graphs.file(role), self._graphs.inputs(role)[name]
        raise BundleError(
            self._graphs.file("step"),
            f"observations.{key}",
            f"no graph has an input {' or '.join(dict.fromkeys(tried))} for {spec.kind}",
            "Name the input in its field 'tensor'",
        )

    def _resolved(self, spec: PolicyInput, name: str, file: str, info: TensorInfo) -> _Input:
        whole = {"int64", "int32", "float32"} if spec.kind in _WHOLE else {"float32"}
        if info.dtype not in whole or (spec.dtype or info.dtype) != info.dtype:
            wanted = spec.dtype or " or ".join(sorted(whole))
            raise BundleError(file, f"input {name}", f"is {info}, but {spec.kind} is {wanted}")
        shape = self._rows_shape(spec, info) if spec.kind in _ROWS else (1,) * len(info.shape)
        if not info.fits(shape):
            raise BundleError(
                file, f"input {name}", f"is {info}, but {spec.kind} gives shape {list(shape)}"
            )
        return _Input(spec.kind, shape, info.dtype)

    def _rows_shape(self, spec: PolicyInput, info: TensorInfo) -> tuple[int, ...]:
        """(1, T, dim), where the document says no `dim` and fewer rows as the graph declares."""
        document = self._document
        rows, columns = document.chunk.size, document.action.columns
        declared = info.shape if len(info.shape) == 3 else (1, rows, columns)
        width = columns
        if spec.dim is not None:
            width = spec.dim
        elif isinstance(document.decoder, FlowDecoder) and document.decoder.shape is not None:
            width = document.decoder.shape[1]
        elif isinstance(declared[2], int):
            width = max(columns, declared[2])
        if spec.kind == "policy/action_prefix" and isinstance(declared[1], int):
            # A graph may take no more of the prefix than the delay it was trained for.
            needed = self._rtc.max_delay or rows
            rows = declared[1] if needed <= declared[1] <= rows else rows
        return (1, rows, width)

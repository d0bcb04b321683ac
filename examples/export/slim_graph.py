# SPDX-License-Identifier: Apache-2.0
"""Exports as small as their weights.

The exporter writes down where in the Python code every node comes from, and arithmetic on shapes
that is known before; of a network of a hundred kilobytes that is more than half the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime
import torch
from export_common import export_graph


def export_slim(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    path: Path,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """`export_graph`, then without what ONNX Runtime computes when it loads, and short names."""
    export_graph(module, inputs, outputs, path, dynamic_axes)
    whole = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        # Standard operators only; the higher levels write some that are for this machine.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    _shorten(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    _compare(whole, path.read_bytes(), inputs, outputs)


def _shorten(model: onnx.ModelProto) -> None:
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {}

    def short(name: str) -> str:
        if not name or name in kept:
            return name
        return names.setdefault(name, f"t{len(names)}")

    for node in graph.node:
        node.name, node.doc_string = "", ""
        for field in (node.input, node.output):
            field[:] = [short(name) for name in field]
    for weights in graph.initializer:
        weights.name, weights.doc_string = short(weights.name), ""
    graph.ClearField("value_info")
    used = {node.domain for node in graph.node}
    opsets = [one for one in model.opset_import if one.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(opsets)


def _compare(
    whole: bytes, slim: bytes, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str]
) -> None:
    sessions = [
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        for data in (whole, slim)
    ]
    taken = {given.name for given in sessions[0].get_inputs()}
    feed = {name: tensor.numpy() for name, tensor in inputs.items() if name in taken}
    for name, one, other in zip(
        outputs, *(session.run(list(outputs), feed) for session in sessions), strict=True
    ):
        if abs(one.astype(float) - other.astype(float)).max(initial=0.0) > 1e-5:
            raise RuntimeError(f"{name} changed")

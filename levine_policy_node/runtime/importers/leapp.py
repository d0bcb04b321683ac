# SPDX-License-Identifier: Apache-2.0
"""Graphs of LEAPP (NVIDIA): a YAML that names every tensor's kind and elements, and ONNX files.

See `leapp/leapp_graph/leapp_node.py` and `utils/tensor_description.py` of LEAPP 0.7. Kinds are in
SI units. One model with joints in and joint targets out can be represented.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from levine_policy_node.runtime.importers.draft import RATE, ROBOT, Draft, policy_name
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields, read_yaml, refused
from levine_policy_node.runtime.importers.rsl_rl import check_width
from levine_policy_node.runtime.importers.safetensors_stats import read_stats
from levine_policy_node.runtime.importers.tensors import rows_and_columns, width
from levine_policy_node.runtime.tensor_info import TensorInfo

_MARKS = (b"models:", b"pipeline:")
_SECTIONS = ("models", "pipeline")
_OBSERVED = ("state/joint/position", "state/joint/velocity")
_COMMANDED = ("target/joint/position", "target/joint/velocity")
_KNOWN = {"name", "kind", "shape", "type", "dtype", "element_names", "temporal_period_ms"}


def find(export: Export) -> str | None:
    """The YAML of a LEAPP graph, if there is one.

    Raises:
        BundleError: If there are several.
    """
    found = [name for name in export.names if _is_leapp(export, name)]
    if len(found) > 1:
        raise refused(export.path(""), "", f"has several LEAPP graphs: {', '.join(found[:4])}")
    return found[0] if found else None


def _is_leapp(export: Export, name: str) -> bool:
    if "/" in name or not name.endswith((".yaml", ".yml")):
        return False
    raw = export.peek(name)
    if not all(mark in raw for mark in _MARKS):
        return False
    return all(section in read_yaml(raw, export.path(name)) for section in _SECTIONS)


def read(export: Export, file: str) -> Draft:
    """A draft that lacks the robot, and the rate where the graph has no frequency.

    Raises:
        BundleError: If there are several models, or kinds that cannot be represented.
    """
    fields = export.yaml(file)
    models, pipeline = fields.mapping("models"), fields.mapping("pipeline")
    if len(models.keys) != 1:
        raise fields.refusal(
            "models", f"{len(models.keys)} models; one can be represented", "Export one model"
        )
    node = models.keys[0]
    model = models.mapping(node)
    graph = _graph(export, model.mapping("parameters"))
    info = export.graph(graph)
    feedback = _feedback(export, pipeline, node)
    observations: dict[str, Any] = {}
    notes: list[str] = []
    for tensor in model.mappings("inputs"):
        name = tensor.text("name")
        notes += _extras(tensor, name)
        if name not in feedback:
            observations[name] = _observation(tensor, name, info.inputs)
    if set(observations) | set(feedback) != set(info.inputs):
        raise model.refusal("inputs", f"are not those of {graph}: {', '.join(info.inputs)}")
    outputs = [tensor for tensor in model.mappings("outputs") if _commands(tensor, feedback)]
    decoders, parts, rows, period_ms = _actions(model, outputs, info.outputs)
    rate: Any = RATE
    configs = pipeline.mapping("configs")
    if rows > 1 and period_ms is not None:
        rate = 1000.0 / period_ms
    elif rows == 1 and "frequency" in configs:
        rate = configs.positive("frequency")
    document = {
        "name": policy_name(node),
        "robot": ROBOT,
        "rate": rate,
        "graphs": {"step": graph},
        "observations": observations,
        "decoder": decoders[0] if len(decoders) == 1 else decoders,
        "action": {"parts": parts},
        "chunk": {"size": rows, "execute": rows},
        **({"feedback": feedback} if feedback else {}),
    }
    return export.draft("leapp", f"{file} has models and pipeline", document, file, tuple(notes))


def _graph(export: Export, parameters: Fields) -> str:
    backend = parameters.text("backend")
    if not backend.startswith("onnx"):
        raise parameters.refusal(
            "backend", f"'{backend[:40]}' cannot be run", "Export with onnx-dynamo"
        )
    graph = parameters.text("model_path")
    if graph not in export.names:
        raise parameters.refusal("model_path", f"'{graph[:80]}' is not in the folder")
    if "sha256sum" in parameters:
        found = hashlib.sha256(export.content(graph)).hexdigest()
        if parameters.text("sha256sum").lower() != found:
            raise parameters.refusal(
                "sha256sum", f"is not that of {graph} ({found[:8]}…)", "Export or copy it again"
            )
    return graph


def _feedback(export: Export, pipeline: Fields, node: str) -> dict[str, str]:
    """Recurrent state, output by input; it begins with zeros."""
    flow = pipeline.mapping("feedback_flow")
    feedback = {
        _local(flow, source, target, node): _local(flow, source, source, node)
        for source in flow.keys
        for target in flow.names(source)
    }
    if "initial_values" in pipeline and feedback:
        name = pipeline.text("initial_values")
        if name not in export.names:
            raise pipeline.refusal("initial_values", f"'{name[:80]}' is not in the folder")
        table = read_stats(export.content(name), export.path(name))
        if any(np.any(value) for stats in table.values() for value in stats.values()):
            raise pipeline.refusal(
                "initial_values", "are not all 0, and recurrent state can begin with 0 only"
            )
    return feedback


def _local(flow: Fields, key: str, name: str, node: str) -> str:
    owner, _, tensor = name.rpartition("/")
    if owner != node or not tensor:
        raise flow.refusal(key, f"'{name[:60]}' is no tensor of {node}")
    return tensor


def _extras(tensor: Fields, name: str) -> list[str]:
    return [f"{name}: {key[:40]} is not used" for key in tensor.keys if key not in _KNOWN]


def _observation(tensor: Fields, name: str, inputs: Mapping[str, TensorInfo]) -> dict[str, Any]:
    kind = tensor.text("kind", "none")
    if kind not in _OBSERVED:
        raise tensor.refusal(
            "kind",
            f"'{kind[:60]}' of input {name[:60]} cannot be observed yet; supported: "
            f"{', '.join(_OBSERVED)}",
            "Export without it, or wait for a version that has it",
        )
    names = _elements(tensor)
    if name not in inputs:
        raise tensor.refusal("name", f"'{name[:60]}' is no input of the graph")
    check_width(
        tensor.file,
        tensor.at("element_names"),
        len(names),
        width(tensor.file, name, inputs[name]),
        name,
    )
    return {"kind": kind, "names": names}


def _commands(tensor: Fields, feedback: Mapping[str, str]) -> bool:
    """Whether an output is an action, not only state for the next inference."""
    kind = tensor.text("kind", "none")
    if kind in _COMMANDED:
        return True
    if tensor.text("name") in feedback.values():
        return False
    raise tensor.refusal(
        "kind",
        f"'{kind[:60]}' of output {tensor.text('name')[:60]} cannot be commanded; supported: "
        f"{', '.join(_COMMANDED)}",
        "Export without it, or write a policy.yaml",
    )


def _actions(
    model: Fields, tensors: list[Fields], outputs: Mapping[str, TensorInfo]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int, float | None]:
    """Decoders, parts of the action, rows and the time between them [ms]."""
    decoders: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    sizes: set[int] = set()
    period_ms: float | None = None
    for tensor in tensors:
        name, names = tensor.text("name"), _elements(tensor)
        if name not in outputs:
            raise tensor.refusal("name", f"'{name[:60]}' is no output of the graph")
        rows, columns = rows_and_columns(tensor.file, name, outputs[name], None)
        check_width(tensor.file, tensor.at("element_names"), len(names), columns, name)
        taken = {joint for part in parts for joint in part["names"]} & set(names)
        if taken:
            raise tensor.refusal("element_names", f"{min(taken)[:60]} is commanded twice")
        if "temporal_period_ms" in tensor:
            period_ms = tensor.positive("temporal_period_ms")
        sizes.add(rows)
        decoders.append({"type": "direct", "output": name, "columns": columns})
        parts.append({"kind": tensor.text("kind"), "names": names})
    if len(sizes) != 1:
        raise model.refusal("outputs", "none is a joint target, or they differ in rows")
    return decoders, parts, sizes.pop(), period_ms


def _elements(tensor: Fields) -> list[str]:
    """Names along the last axis, from one list per axis or one list alone."""
    axes = tensor.values("element_names")
    if axes and all(isinstance(axis, str) for axis in axes):
        return list(tensor.names("element_names"))
    last = Fields({"element_names": axes[-1] if axes else None}, tensor.file, tensor.path)
    names = list(last.names("element_names"))
    if not names:
        raise tensor.refusal(
            "element_names", "has no names of joints", "Joints are bound by name, never by index"
        )
    return names

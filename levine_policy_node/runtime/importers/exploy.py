# SPDX-License-Identifier: Apache-2.0
"""Policies of exploy: observations, actor and action processing in one graph, bound by name.

See `bdaiinstitute/exploy`: `obj.<articulation>.joints.(pos|vel)` and `memory.<name>.in` come in,
`output.joint_targets.<name>.(pos|vel|effort)` and `memory.<name>.out` go out; metadata are JSON.
"""

from __future__ import annotations

import re
from typing import Any

from levine_policy_node.runtime.importers.draft import ROBOT, Draft, gap, one_target
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields, read_json, refused
from levine_policy_node.runtime.importers.rsl_rl import check_width
from levine_policy_node.runtime.importers.tensors import rows_and_columns, unknown_input, width
from levine_policy_node.runtime.onnx_loader import GraphInfo

VERSION = "exploy_version"
_JOINTS = re.compile(r"(obj\.[^.]+\.joints)\.(pos|vel)")
_TARGETS = re.compile(r"(output\.joint_targets\.[^.]+)\.(pos|vel|effort)")
_MEMORY = re.compile(r"(memory\..+)\.(in|out)")
_KINDS = {"pos": "position", "vel": "velocity"}
# What the actor said before it was processed; nothing is commanded by it.
_UNUSED = {"actions"}


def matches(graph: GraphInfo) -> bool:
    """Whether the metadata are exploy's."""
    return VERSION in graph.metadata


def read(export: Export, name: str) -> Draft:
    """A draft that lacks the robot, and a decision where there are several targets per joint.

    Raises:
        BundleError: If an input or output is none of joints, memory and joint targets.
    """
    graph = export.graph(name)
    file = export.path(name)
    observations: dict[str, Any] = {}
    feedback: dict[str, str] = {}
    for tensor, info in graph.inputs.items():
        joints, memory = _JOINTS.fullmatch(tensor), _MEMORY.fullmatch(tensor)
        if joints:
            names = list(_metadata(graph, file, joints[1]).names("joint_names"))
            check_width(file, joints[1], len(names), width(file, tensor, info), tensor)
            observations[tensor] = {"kind": f"state/joint/{_KINDS[joints[2]]}", "names": names}
        elif memory and memory[2] == "in" and f"{memory[1]}.out" in graph.outputs:
            feedback[tensor] = f"{memory[1]}.out"
        else:
            raise unknown_input(file, tensor, info)
    decoders, parts, notes = _targets(graph, file, set(feedback.values()))
    if feedback:
        notes.append(f"{', '.join(feedback)} begin with 0")
    document = {
        "name": export.name(name),
        "robot": ROBOT,
        "rate": _rate(graph, file),
        "graphs": {"step": name},
        "observations": observations,
        "decoder": decoders[0] if len(decoders) == 1 else decoders,
        "action": {"parts": parts},
        "chunk": one_target(parts),
        **({"feedback": feedback} if feedback else {}),
    }
    return export.draft("exploy", f"{name} has metadata {VERSION}", document, name, tuple(notes))


def _targets(
    graph: GraphInfo, file: str, memories: set[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Decoders, parts of the action, and what is left out."""
    groups: dict[str, list[str]] = {}
    for tensor, info in graph.outputs.items():
        match = _TARGETS.fullmatch(tensor)
        if match:
            groups.setdefault(match[1], []).append(match[2])
        elif tensor not in memories | _UNUSED:
            raise refused(
                file, f"output {tensor}", f"is {info}, and only joint targets can be commanded"
            )
    decoders: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    notes: list[str] = []
    for group, given in groups.items():
        names = list(_metadata(graph, file, group).names("names"))
        chosen = next((quantity for quantity in ("pos", "vel") if quantity in given), None)
        if chosen is None:
            problem = "gives efforts only, which are not read here: write a policy.yaml"
            raise refused(file, f"output {group}", problem)
        output = f"{group}.{chosen}"
        rows, columns = rows_and_columns(file, output, graph.outputs[output], 1)
        check_width(file, group, len(names), rows * columns, output)
        decoders.append({"type": "direct", "output": output, "columns": len(names)})
        kind: str = f"target/joint/{_KINDS[chosen]}"
        if len(given) > 1:
            left = ", ".join(f"{group}.{quantity}" for quantity in given if quantity != chosen)
            notes.append(f"{left} are not commanded")
            kind = gap(f"{kind} if {output} alone moves the robot (else {left} matter, too)")
        parts.append({"kind": kind, "names": names})
    if not parts:
        raise refused(file, "outputs", "has no output.joint_targets.<name>.pos or .vel")
    return decoders, parts, notes


def _rate(graph: GraphInfo, file: str) -> float:
    return _value(graph, file, "update_rate").positive("update_rate")


def _metadata(graph: GraphInfo, file: str, key: str) -> Fields:
    return _value(graph, file, key).mapping(key)


def _value(graph: GraphInfo, file: str, key: str) -> Fields:
    """One entry of the metadata, under its own name."""
    if key not in graph.metadata:
        raise refused(file, f"metadata_props {key}", "is missing", "Export again with exploy")
    raw = f'{{"value": {graph.metadata[key]}}}'.encode()
    value = read_json(raw, f"{file}: metadata_props {key}").raw("value")
    return Fields({key: value}, file, "metadata_props")

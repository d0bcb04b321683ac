# SPDX-License-Identifier: Apache-2.0
"""Actors of rsl_rl: `obs` to `actions`, with `h_in`, `c_in` where they are recurrent.

The network's normaliser and head are in the graph; scales and default positions are not, and come
from what lies beside it (mjlab's metadata, Isaac Lab's descriptors) or from a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from levine_policy_node.runtime.importers.draft import (
    OBSERVED,
    RATE,
    ROBOT,
    Draft,
    gap,
    joint_names,
    one_target,
)
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import refused
from levine_policy_node.runtime.importers.tensors import (
    RECURRENT,
    rows_and_columns,
    unknown_input,
    width,
)
from levine_policy_node.runtime.onnx_loader import GraphInfo

OBS = "obs"
ACTIONS = "actions"


def matches(graph: GraphInfo) -> bool:
    """Whether a graph has the names that rsl_rl's exporter gives."""
    return OBS in graph.inputs and ACTIONS in graph.outputs


def check_graph(file: str, graph: GraphInfo) -> tuple[int, int, dict[str, str]]:
    """Columns of `obs` and `actions`, and the recurrent state as `feedback`.

    Raises:
        BundleError: If there are inputs or outputs of another kind.
    """
    if not matches(graph):
        raise refused(
            file,
            "inputs",
            f"expected input {OBS} and output {ACTIONS}, found {', '.join(list(graph.inputs)[:6])}"
            f" and {', '.join(list(graph.outputs)[:6])}",
        )
    feedback: dict[str, str] = {}
    for name, info in graph.inputs.items():
        if name == OBS:
            continue
        if RECURRENT.get(name) not in graph.outputs:
            raise unknown_input(file, name, info)
        feedback[name] = RECURRENT[name]
    _, acted = rows_and_columns(file, f"output {ACTIONS}", graph.outputs[ACTIONS], 1)
    return width(file, f"input {OBS}", graph.inputs[OBS]), acted, feedback


def document(
    export: Export, graph: str, terms: Sequence[Mapping[str, Any]], parts: Sequence[Any], rate: Any
) -> dict[str, Any]:
    """The document of an actor that is asked for one row at a time."""
    _, _, feedback = check_graph(export.path(graph), export.graph(graph))
    return {
        "name": export.name(graph),
        "robot": ROBOT,
        "rate": rate,
        "graphs": {"step": graph},
        "observations": {OBS: {"terms": [dict(term) for term in terms]}},
        "decoder": {"type": "direct", "output": ACTIONS},
        "action": {"parts": list(parts)},
        "chunk": one_target(parts),
        **({"feedback": feedback} if feedback else {}),
    }


def columns(term: Mapping[str, Any]) -> int:
    """Columns of a term that this package writes."""
    return int(term["dim"]) if "dim" in term else len(term["names"])


def last_action(width: int) -> dict[str, Any]:
    """The term for what the network said before, which is its output without scale or offset."""
    return {"kind": "feedback/action", "dim": width}


def check_width(file: str, field: str, described: int, declared: int, what: str) -> None:
    """Refuse a description of fewer or more columns than the graph has.

    Raises:
        BundleError: With both numbers.
    """
    if described != declared:
        raise refused(
            file,
            field,
            f"describes {described} column(s), but the graph has {declared} in {what}",
            "Export both from the same run; terms without a descriptor cannot be read",
        )


def read(export: Export, graph: str, why: str, rate: Any = RATE) -> Draft:
    """A draft for an actor that nothing describes."""
    observed, acted, _ = check_graph(export.path(graph), export.graph(graph))
    terms = [
        {
            "kind": f"{OBSERVED}; one entry per group of columns, {observed} column(s) in all",
            "names": gap("names of joints in the order of the columns"),
            "scale": gap("factor of the term in training, 1.0 if none"),
            "offset": gap("minus default position times scale where it is relative, else 0.0"),
        }
    ]
    parts = [
        {
            "kind": gap("target/joint/position or target/joint/velocity"),
            "names": joint_names(acted),
            "scale": gap("action scale of training"),
            "offset": gap("default joint positions of training [rad], one per joint"),
        }
    ]
    return export.draft("rsl_rl", why, document(export, graph, terms, parts, rate), graph)

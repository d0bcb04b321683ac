# SPDX-License-Identifier: Apache-2.0
"""Actors of stable-baselines3, exported as its `docs/guide/export.md` says.

The input is called `input`. A deterministic SAC or TD3 actor gives actions in [-1, 1], which the
export does not rescale: `low + (a + 1) / 2 * (high - low)`, which is `normalize: min_max`.
"""

from __future__ import annotations

from typing import Any

from levine_policy_node.runtime.importers.draft import (
    KIND,
    OBSERVED,
    RATE,
    ROBOT,
    Draft,
    gap,
    joint_names,
)
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import refused
from levine_policy_node.runtime.importers.tensors import image, rows_and_columns, width
from levine_policy_node.runtime.onnx_loader import GraphInfo

INPUT = "input"
_IMAGE_RANK = 4


def matches(graph: GraphInfo) -> bool:
    """Whether the only input has the name of the recipe."""
    return list(graph.inputs) == [INPUT]


def read(export: Export, name: str) -> Draft:
    """A draft in which the spaces, which are not in the file, are gaps.

    Raises:
        BundleError: For a PPO or A2C export, whose actions are not squashed.
    """
    graph, file = export.graph(name), export.path(name)
    if len(graph.outputs) != 1:
        raise refused(
            file,
            "outputs",
            f"{len(graph.outputs)} outputs are those of PPO or A2C, whose actions are not in "
            "[-1, 1] but clipped to the space",
            "Export the deterministic actor of SAC or TD3, or write a policy.yaml",
        )
    output = next(iter(graph.outputs))
    rows, columns = rows_and_columns(file, f"output {output}", graph.outputs[output], None)
    each = f"one per column, {columns} in all"
    document: dict[str, Any] = {
        "name": export.name(name),
        "robot": ROBOT,
        "rate": RATE,
        "graphs": {"step": name},
        "observations": {INPUT: _observation(file, graph)},
        "decoder": {"type": "direct", "output": output},
        "action": {
            "normalize": "min_max",
            "parts": [{"kind": KIND, "names": joint_names(columns)}],
        },
        "chunk": {"size": rows, "execute": rows},
        "stats": {
            "action": {
                "min": gap(f"low of the action space, {each} [rad] or [rad/s]"),
                "max": gap(f"high of the action space, {each} [rad] or [rad/s]"),
            }
        },
    }
    why = f"the only input of {name} is called {INPUT}"
    return export.draft("stable_baselines3", why, document, name)


def _observation(file: str, graph: GraphInfo) -> dict[str, Any]:
    info = graph.inputs[INPUT]
    if len(info.shape) == _IMAGE_RANK:
        # The network divides by 255 itself.
        return image(file, INPUT, info, gap("camera of the robot file"), high=255.0)
    columns = width(file, f"input {INPUT}", info)
    return {
        "terms": [
            {
                "kind": f"{OBSERVED}; one entry per group of columns, {columns} in all",
                "names": gap("names of joints in the order of the columns"),
                "scale": gap("factor of the observation in training, 1.0 if none"),
            }
        ]
    }

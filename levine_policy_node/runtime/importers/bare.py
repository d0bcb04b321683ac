# SPDX-License-Identifier: Apache-2.0
"""ONNX files that nothing describes: matched by the names of their tensors.

What a name says is taken (an image, a state, an action, recurrent state); joints, units, rate
and kind of action are gaps, so nothing moves before a person has filled them in.
"""

from __future__ import annotations

from levine_policy_node.runtime.importers import rsl_rl, stable_baselines
from levine_policy_node.runtime.importers.draft import RATE, ROBOT, Draft
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.lerobot_parts import Parts


def read(export: Export) -> Draft:
    """A draft with gaps.

    Raises:
        BundleError: If there is not one graph, or an input has a name that says nothing.
    """
    name = export.only_graph("Write a policy.yaml that says what each is for")
    graph = export.graph(name)
    if rsl_rl.matches(graph):
        why = f"{name} has input {rsl_rl.OBS} and output {rsl_rl.ACTIONS}"
        return rsl_rl.read(export, name, why)
    if stable_baselines.matches(graph):
        return stable_baselines.read(export, name)
    parts = Parts(export, {"step": name}, export.path(name))
    parts.direct(None)
    parts.vectors((), ())
    document = {
        "name": export.name(name),
        "robot": ROBOT,
        "rate": RATE,
        "graphs": {"step": name},
        **parts.document(None),
    }
    return export.draft("tensor_names", f"{name} has inputs with known names", document, name)

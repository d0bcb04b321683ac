# SPDX-License-Identifier: Apache-2.0
"""Actors of Isaac Lab with the `IO_descriptors.yaml` or `params/env.yaml` of their run.

See `isaaclab/envs/manager_based_env.py`. Observations are `(value - default) * scale`, actions
are `action * scale + offset`; `env.yaml` names joints by patterns only, so it gives the rate.
"""

from __future__ import annotations

from typing import Any

from levine_policy_node.runtime.importers import rsl_rl
from levine_policy_node.runtime.importers.draft import Draft
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields

DESCRIPTORS = ("IO_descriptors.yaml", "io_descriptors/IO_descriptors.yaml")
ENVIRONMENTS = ("env.yaml", "params/env.yaml")
_GROUP = "policy"
# Kind, and the field with the values it is relative to.
_LAST = "last_action"
_TERMS = {
    "joint_pos": ("position", None),
    "joint_pos_rel": ("position", "joint_pos_offsets"),
    "joint_vel": ("velocity", None),
    "joint_vel_rel": ("velocity", "joint_vel_offsets"),
}
_ACTIONS = {"JointPositionAction": "position", "JointVelocityAction": "velocity"}
_WHY_NOT = {
    "RelativeJointPositionAction": "adds to the joints in every physics step, not in every row",
    "JointEffortAction": "commands efforts, which are not read here: write a policy.yaml",
    "generated_commands": "is a command, which cannot be observed yet",
}


def read_descriptors(export: Export, file: str) -> Draft:
    """A draft that lacks the robot only.

    Raises:
        BundleError: If a term, a clip, a modifier or a history cannot be represented.
    """
    graph = export.only_graph("Put policy.onnx alone beside IO_descriptors.yaml")
    observed, acted, _ = rsl_rl.check_graph(export.path(graph), export.graph(graph))
    fields = export.yaml(file)
    groups = fields.mapping("observations")
    terms = [_term(term, acted) for term in groups.mappings(_GROUP)]
    if not terms:
        raise groups.refusal(_GROUP, "has no terms", "Export the group the actor reads")
    parts = [_action(term) for term in fields.mappings("actions")]
    for what, pieces, declared in (
        (groups.at(_GROUP), terms, observed),
        ("actions", parts, acted),
    ):
        described = sum(rsl_rl.columns(piece) for piece in pieces)
        rsl_rl.check_width(fields.file, what, described, declared, graph)
    rate = 1.0 / fields.mapping("scene").positive("dt")
    document = rsl_rl.document(export, graph, terms, parts, rate)
    return export.draft("isaac_lab", f"{file} lies beside {graph}", document, file)


def read_environment(export: Export, file: str) -> Draft:
    """A draft of the actor with the rate; `env.yaml` has no order of joints."""
    graph = export.only_graph("Put policy.onnx alone beside params/env.yaml")
    fields = export.yaml(file)
    step_s = fields.mapping("sim").positive("dt") * fields.positive("decimation")
    draft = rsl_rl.read(export, graph, f"{file} lies beside {graph}", 1.0 / step_s)
    note = "joints and scales are patterns in env.yaml; export IO_descriptors.yaml to have them"
    return export.draft("isaac_lab", draft.why, {**draft.document}, file, (note,))


def _function(fields: Fields) -> str:
    """Name of the function or class that makes a term."""
    path = fields.text("full_path", "") or fields.text("name")
    return path.replace(":", ".").rsplit(".", 1)[-1]


def _refuse(fields: Fields, what: str, found: str, supported: dict[str, Any]) -> None:
    if found not in supported:
        why = _WHY_NOT.get(found, "cannot be represented")
        raise fields.refusal(
            what, f"{found[:60]} {why}; supported: {', '.join(supported)}", "Write a policy.yaml"
        )


def _term(fields: Fields, acted: int) -> dict[str, Any]:
    function = _function(fields)
    _refuse(fields, "name", function, {**_TERMS, _LAST: None})
    overloads = fields.mapping("overloads")
    if overloads.whole("history_length", 0) > 1:
        raise overloads.refusal("history_length", "histories cannot be represented")
    if "clip" in overloads:
        raise overloads.refusal("clip", "clips cannot be represented")
    extras = fields.mapping("extras")
    if "modifiers" in extras and extras.raw("modifiers") != []:
        raise extras.refusal("modifiers", "modifiers cannot be represented")
    if function == _LAST:
        if "scale" in overloads and overloads.number("scale") != 1.0:
            raise overloads.refusal("scale", "must be 1 for the last action")
        return rsl_rl.last_action(acted)
    kind, relative_to = _TERMS[function]
    names = _names(fields)
    scale = overloads.numbers("scale", len(names)) if "scale" in overloads else [1.0] * len(names)
    default = [0.0] * len(names)
    if relative_to is not None:
        default = fields.numbers(relative_to, len(names))
    offset = [-d * s for d, s in zip(default, scale, strict=True)]
    return {"kind": f"state/joint/{kind}", "names": names, "scale": scale, "offset": offset}


def _action(fields: Fields) -> dict[str, Any]:
    action = _function(fields)
    _refuse(fields, "full_path", action, _ACTIONS)
    if "clip" in fields:
        raise fields.refusal("clip", "clips cannot be represented")
    names = _names(fields)
    return {
        "kind": f"target/joint/{_ACTIONS[action]}",
        "names": names,
        "scale": fields.numbers("scale", len(names)),
        "offset": fields.numbers("offset", len(names)),
    }


def _names(fields: Fields) -> list[str]:
    names = list(fields.names("joint_names"))
    if not names:
        raise fields.refusal("joint_names", "is missing or empty")
    return names

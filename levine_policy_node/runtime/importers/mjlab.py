# SPDX-License-Identifier: Apache-2.0
"""Actors of mjlab, which writes joints, scales and defaults into the ONNX file's metadata.

See `mjlab/rl/exporter_utils.py`: values are CSV with three decimals, JSON in forks. In all its
tasks `joint_pos` is relative to the default positions, and so is the action.
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

from levine_policy_node.runtime.importers.draft import RATE, Draft
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields, number
from levine_policy_node.runtime.importers.rsl_rl import (
    check_graph,
    check_width,
    columns,
    document,
    last_action,
)
from levine_policy_node.runtime.onnx_loader import GraphInfo

NEEDED = ("joint_names", "action_scale", "default_joint_pos", "observation_names")
_LAST = {"actions", "last_action"}
_RELATIVE = {"joint_pos", "joint_pos_rel"}
_VELOCITY = {"joint_vel", "joint_vel_rel"}
_NO_CLIP = (-math.inf, math.inf)
_WHAT = {
    "command": "command/body/velocity",
    "projected_gravity": "state/body/projected_gravity",
    "base_ang_vel": "state/body/angular_velocity",
    "base_lin_vel": "state/body/linear_velocity",
}


def matches(graph: GraphInfo) -> bool:
    """Whether the metadata are mjlab's."""
    return all(key in graph.metadata for key in NEEDED)


def read(export: Export, name: str) -> Draft:
    """A draft that lacks the rate, which mjlab does not write, and the robot.

    Raises:
        BundleError: If a term, a clip or a history cannot be represented.
    """
    graph = export.graph(name)
    observed, acted, _ = check_graph(export.path(name), graph)
    fields = Fields(
        {key: _values(text) for key, text in graph.metadata.items()},
        export.path(name),
        "metadata_props",
    )
    joints = fields.names("joint_names")
    check_width(fields.file, fields.at("joint_names"), len(joints), acted, "actions")
    default = fields.numbers("default_joint_pos", len(joints))
    terms = _terms(fields, joints, default)
    described = sum(columns(term) for term in terms)
    check_width(fields.file, fields.at("observation_names"), described, observed, "obs")
    part = {
        "kind": "target/joint/position",
        "names": list(joints),
        "scale": fields.numbers("action_scale", len(joints)),
        "offset": default,
    }
    why = f"{name} has metadata {', '.join(NEEDED)}"
    notes = [
        "joint_pos and actions are taken as relative to default_joint_pos, as in mjlab's tasks",
        "scales and default positions have three decimals in this format",
    ]
    if "joint_stiffness" in fields or "joint_damping" in fields:
        notes.append("stiffness and damping are not commanded; set them on the robot's controller")
    made = document(export, name, terms, [part], RATE)
    return export.draft("mjlab", why, made, name, tuple(notes))


def _terms(fields: Fields, joints: tuple[str, ...], default: list[float]) -> list[dict[str, Any]]:
    names = fields.names("observation_names")
    if not names:
        raise fields.refusal("observation_names", "is empty")
    scales = _per_term(fields, "observation_terms_scale", len(names), 1.0)
    history = _per_term(fields, "observation_terms_history_length", len(names), 0)
    clips = _per_term(fields, "observation_terms_clip", len(names), list(_NO_CLIP))
    old_clips = _per_term(fields, "observation_term_clip", len(names), list(_NO_CLIP))
    terms: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        if name not in _RELATIVE | _VELOCITY | _LAST:
            what = _WHAT.get(name, "no kind of observation")
            raise fields.refusal(
                f"observation_names {name}",
                f"is {what}, which cannot be observed yet; joint_pos, joint_vel and actions can",
                "Train without the term, or wait for a version that has it",
            )
        if history[i] not in (0, 1, 0.0, 1.0):
            raise fields.refusal(f"observation_terms_history_length {name}", "needs a history")
        if any(tuple(_list(clip[i])) != _NO_CLIP for clip in (clips, old_clips)):
            raise fields.refusal(f"observation_terms_clip {name}", "clips cannot be represented")
        factor = _list(scales[i])
        scale = [
            number(value, fields, f"observation_terms_scale {name}")
            for value in (factor * len(joints) if len(factor) == 1 else factor)
        ]
        if len(scale) != len(joints):
            raise fields.refusal(f"observation_terms_scale {name}", f"has {len(scale)} values")
        if name in _LAST:
            if scale != [1.0] * len(joints):
                raise fields.refusal(f"observation_terms_scale {name}", "must be 1 for actions")
            terms.append(last_action(len(joints)))
            continue
        relative = name in _RELATIVE
        term = {"kind": f"state/joint/{'position' if relative else 'velocity'}"}
        offset = [-d * s for d, s in zip(default, scale, strict=True)] if relative else 0.0
        terms.append({**term, "names": list(joints), "scale": scale, "offset": offset})
    return terms


def _per_term(fields: Fields, key: str, count: int, default: Any) -> list[Any]:
    if key not in fields:
        return [default] * count
    value = fields.raw(key)
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    if len(values) != count:
        raise fields.refusal(key, f"has {len(values)} values for {count} observation terms")
    return values


def _list(value: Any) -> list[Any]:
    return list(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else [value]


def _values(text: str) -> Any:
    """A value as JSON, else CSV in which `;` separates what belongs to one entry."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return [_entry(entry) for entry in text.split(",")]


def _entry(text: str) -> Any:
    parts = [_scalar(part) for part in text.split(";")]
    return parts if len(parts) > 1 else parts[0]


def _scalar(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip()

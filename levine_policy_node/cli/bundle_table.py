# SPDX-License-Identifier: Apache-2.0
"""What a policy sees, does and is made of, as `levine check` prints it."""

from __future__ import annotations

import hashlib
import textwrap
from typing import Any

from levine_policy_node.cli.action_forms import target_forms
from levine_policy_node.cli.observation_forms import made_form, past_form
from levine_policy_node.cli.table import format_table
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.body_schema import BodyTerm
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.decoder_schema import DiffusionDecoder, FlowDecoder, OneDecoder
from levine_policy_node.runtime.goal_schema import GoalTerm
from levine_policy_node.runtime.image_schema import ImageSpec
from levine_policy_node.runtime.observation_schema import (
    ActionTerm,
    GripperTerm,
    ImageObservation,
    JointTerm,
    Term,
)
from levine_policy_node.runtime.planner_schema import CemDecoder, MppiDecoder
from levine_policy_node.runtime.token_schema import AutoregressiveDecoder

_UNITS = {
    "state/joint/position": " [rad]",
    "state/joint/velocity": " [rad/s]",
    "state/joint/effort": " [N m]",
}


def describe(bundle: Bundle, robot: Robot | None) -> str:
    """The whole table; with the sizes of a robot's cameras where one is given."""
    document = bundle.document if robot is None else bundle.for_robot(robot).document
    chunk = document.chunk
    read_from = f"\n  read from   {bundle.origin}" if bundle.origin else ""
    parts = [
        f"{bundle.name}@{bundle.hash8}  {document.description}".rstrip(),
        f"  path        {bundle.path}{read_from}",
        f"  made for    {document.robot}",
        f"  rate        {document.rate:g} Hz: {chunk.size} rows are {chunk.size / document.rate:g}"
        f" s; it looks again {_replan_form(bundle)}",
        f"  decoder     {_decoder_form(bundle)}",
        "",
        "It sees:",
        format_table(["input", "from", "as"], _observation_rows(document, robot)),
        "",
        "It does:",
        format_table(["joint", "target", "as"], _action_rows(bundle)),
        "",
        "It is made of:",
        format_table(["file", "bytes", "sha256"], _file_rows(bundle)),
        *(f"\n  note        {note}" for note in bundle.notes),
    ]
    return "\n".join(parts)


def _decoder_form(bundle: Bundle) -> str:
    document = bundle.document
    form = " beside ".join(_one_decoder(decoder) for decoder in document.decoders)
    if document.remote is not None:
        return f"{form}, by the server {document.remote.url}"
    graphs = " and ".join(document.graphs.pipelines)
    if document.rtc is None:
        return f"{form} ({graphs})"
    delay = document.rtc.max_delay
    trained = "" if delay is None else f", delays up to {delay} rows"
    return f"{form} ({graphs}); real-time chunking: {document.rtc.mode}{trained}"


def _one_decoder(decoder: OneDecoder) -> str:
    if isinstance(decoder, FlowDecoder):
        return f"flow, {decoder.steps} steps"
    if isinstance(decoder, DiffusionDecoder):
        return f"diffusion, {decoder.steps} steps of {decoder.scheduler}"
    if isinstance(decoder, AutoregressiveDecoder):
        return f"autoregressive, {decoder.tokens} tokens to {decoder.detokenize.type}"
    if isinstance(decoder, CemDecoder):
        return f"cem, {decoder.iterations} times {decoder.samples} candidates"
    if isinstance(decoder, MppiDecoder):
        return f"mppi, {decoder.samples} candidates"
    return decoder.type


def _file_rows(bundle: Bundle) -> list[list[str]]:
    """What was read and verified; `policy.yaml` is in the hash of the bundle."""
    rows = [
        [name, f"{len(data):,}", hashlib.sha256(data).hexdigest()]
        for name, data in bundle.files.items()
    ]
    return [*rows, ["all, with policy.yaml", "", bundle.sha256]]


def _observation_rows(document: BundleDocument, robot: Robot | None) -> list[list[str]]:
    rows: list[list[str]] = []
    for key, spec in document.observations.items():
        name = spec.tensor or key
        past = past_form(spec)
        if isinstance(spec, ImageObservation):
            camera = _camera_form(document.cameras.get(key), spec, robot)
            rows.append([name, camera, _image_form(spec.image) + past])
            continue
        vector = document.vectors.get(key)
        if vector is None:
            rows.append([name, *made_form(spec)])
            continue
        for term in vector.terms:
            quantity = term.kind.removeprefix("state/").replace("/", " ") + _UNITS.get(
                term.kind, ""
            )
            if isinstance(term, GoalTerm):
                quantity = f"the goal [m] in {term.frame}"
            lines = textwrap.wrap(": ".join(filter(None, [quantity, _observed(term)])), 44)
            rows.append([name, lines[0], _number_form(vector, term) + past])
            rows += [["", line, ""] for line in lines[1:]]
            name = ""
    return rows


def _observed(term: Term) -> str:
    if not isinstance(term, BodyTerm):
        return ", ".join(term.names)
    seen = [term.frame, *(term.axes or ()), term.rotation or ""]
    return ", ".join(filter(None, [*seen, "" if term.moves else f"from {term.relative_to}"]))


def _camera_form(name: str | None, spec: ImageObservation, robot: Robot | None) -> str:
    missing = "black" if spec.image.fill is None else f"{spec.image.fill:g} everywhere"
    if name is None:
        return f"no camera, {missing}"
    stream = None if robot is None else robot.cameras.get(name)
    size = "" if stream is None else f", {stream.width} x {stream.height}"
    return f"camera {name}{size}" + (f"; {missing} without" if spec.image.optional else "")


def _image_form(image: ImageSpec) -> str:
    shape = " x ".join(str(size) for size in image.shape)
    low, high = image.range
    values = image.dtype if image.dtype == "uint8" else f"{low:g} .. {high:g}"
    steps = ["" if image.crop is None else f"crop {image.crop}"]
    steps.append(f"{image.resize} ({image.interpolation})")
    if image.mean is not None:
        steps.append("mean and std")
    return ", ".join([f"{shape} ({image.layout})", values, *filter(None, steps)])


def _number_form(spec: Any, term: Term) -> str:
    if isinstance(term, ActionTerm):
        return "as the network gave it"
    steps = [_normalization(spec.normalize, spec.normalize_mask) or "as measured"]
    if spec.clip is not None:
        steps.append(f"clipped to {spec.clip[0]:g} .. {spec.clip[1]:g}")
    if isinstance(term, GripperTerm):
        steps.append(f"{term.closed:g} closed .. {term.open:g} open")
    elif isinstance(term, JointTerm) and (term.scale, term.offset) != (1.0, 0.0):
        steps.append("scaled")
    return ", ".join(steps)


def _normalization(kind: str | None, mask: tuple[bool, ...] | None) -> str:
    if kind is None or mask is None or all(mask):
        return kind or ""
    return f"{kind} in {sum(mask)} of {len(mask)} columns"


def _replan_form(bundle: Bundle) -> str:
    chunk = bundle.document.chunk
    if chunk.replan == "at_once":
        return "as soon as it has answered"
    if chunk.replan == "threshold":
        return f"when {chunk.threshold_s:g} s are left to play"
    return f"after {chunk.execute} rows ({bundle.replan_s:g} s)"


def _action_rows(bundle: Bundle) -> list[list[str]]:
    action = bundle.document.action
    return [
        [name, form, _normalization(action.normalize, action.unnormalize_mask) or "as predicted"]
        for part in action.parts
        for name, form in target_forms(part)
    ]

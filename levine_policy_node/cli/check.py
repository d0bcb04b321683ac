# SPDX-License-Identifier: Apache-2.0
"""`levine check BUNDLE`: what a policy sees and does, and whether it fits a robot."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from levine_policy_node.cli.action_forms import target_forms
from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.observation_forms import made_form, past_form
from levine_policy_node.cli.table import format_table
from levine_policy_node.cli.trust_options import (
    add_remote_arguments,
    add_trial_arguments,
    add_trust_arguments,
    chosen_access,
    chosen_trust,
)
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import Robot, load_robot, robots_directory
from levine_policy_node.runtime.body_schema import BodyTerm
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.bundle_trial import try_bundle
from levine_policy_node.runtime.decoder_schema import DiffusionDecoder, FlowDecoder, OneDecoder
from levine_policy_node.runtime.draft_file import write_draft
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
from levine_policy_node.runtime.policy_loader import load_policy
from levine_policy_node.runtime.token_schema import AutoregressiveDecoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine check`."""
    parser.add_argument("bundle", metavar="BUNDLE", help="policy bundle: a path or a shipped name")
    parser.add_argument("--robot", help="robot file it must fit: a shipped name or a path")
    parser.add_argument(
        "--write",
        action="store_true",
        help="draft a policy.yaml for what somebody else's tool exported",
    )
    add_trust_arguments(parser)
    add_trial_arguments(parser)
    add_remote_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Verify the bundle, run its graph for the robot, and print what it is."""
    robot = load_robot(options.robot) if options.robot else None
    if options.write:
        written = write_draft(options.bundle, "" if robot is None else robot.model)
        print(f"{written.path} drafted from {written.origin}")
        if written.missing:
            rows = [list(row) for row in written.missing]
            print("\nStill to fill in:\n" + format_table(["field", "what it needs"], rows))
            write_json(options.json, {"path": str(written.path), "missing": dict(written.missing)})
            return EXIT_OK
    bundle = load_bundle(options.bundle, chosen_trust(options))
    if robot is not None:
        bundle.check_robot(robot)
        fits = [robot]
    else:
        fits = [robot for robot in _shipped_robots() if _fits(bundle, robot)]
    access = chosen_access(options)
    access.check(bundle)
    if not options.no_trial:
        try_bundle(bundle, fits[0] if fits else None, access=access)
    for robot in fits[:1]:
        # Loading compares the graph with the document and runs it on plausible observations.
        load_policy(bundle, robot, access=access).close()
    write_json(options.json, _results(bundle, fits))
    print(_describe(bundle))
    names = ", ".join(robot.name for robot in fits)
    print(f"\n  fits        {names or 'none of the robot files that ship'}")
    if fits:
        local = bundle.document.remote is None
        ran = "graph       loaded, and ran on" if local else "server      answered to"
        print(f"  {ran} plausible observations of {fits[0].name}")
    return EXIT_OK


def _shipped_robots() -> list[Robot]:
    return [load_robot(str(path)) for path in sorted(robots_directory().glob("*.yaml"))]


def _fits(bundle: Bundle, robot: Robot) -> bool:
    try:
        bundle.check_robot(robot)
    except BundleError:
        return False
    return True


def _describe(bundle: Bundle) -> str:
    document = bundle.document
    chunk = document.chunk
    sizes = ", ".join(f"{name} ({len(data):,} bytes)" for name, data in bundle.files.items())
    read_from = f"\n  read from   {bundle.origin}" if bundle.origin else ""
    parts = [
        f"{bundle.name}@{bundle.hash8}  {document.description}".rstrip(),
        f"  path        {bundle.path}{read_from}",
        f"  made for    {document.robot}",
        f"  files       {sizes or 'none but policy.yaml'}",
        f"  rate        {document.rate:g} Hz: {chunk.size} rows are {chunk.size / document.rate:g}"
        f" s; it looks again {_replan_form(bundle)}",
        f"  decoder     {_decoder_form(bundle)}",
        "",
        "It sees:",
        format_table(["input", "from", "as"], _observation_rows(bundle)),
        "",
        "It does:",
        format_table(["joint", "target", "as"], _action_rows(bundle)),
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


def _observation_rows(bundle: Bundle) -> list[list[str]]:
    rows: list[list[str]] = []
    for key, spec in bundle.document.observations.items():
        name = spec.tensor or key
        past = past_form(spec)
        if isinstance(spec, ImageObservation):
            camera = bundle.document.cameras.get(key, "none, always black")
            rows.append([name, f"camera {camera}", _image_form(spec.image) + past])
            continue
        vector = bundle.document.vectors.get(key)
        if vector is None:
            rows.append([name, *made_form(spec)])
            continue
        for term in vector.terms:
            quantity = term.kind.removeprefix("state/").replace("/", " ")
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


def _image_form(image: ImageSpec) -> str:
    shape = " x ".join(str(size) for size in image.shape)
    low, high = image.range
    values = image.dtype if image.dtype == "uint8" else f"{low:g} .. {high:g}"
    resize = f"{image.resize} ({image.interpolation})"
    steps = ["" if image.crop is None else f"crop {image.crop}", resize]
    if image.mean is not None:
        steps.append("mean and std")
    return ", ".join([f"{shape} ({image.layout})", values, *filter(None, steps)])


def _number_form(spec: Any, term: Term) -> str:
    if isinstance(term, ActionTerm):
        return "as the network gave it"
    steps = [spec.normalize or "as measured"]
    if isinstance(term, GripperTerm):
        steps.append(f"{term.closed:g} closed .. {term.open:g} open")
    elif isinstance(term, JointTerm) and (term.scale, term.offset) != (1.0, 0.0):
        steps.append("scaled")
    return ", ".join(steps)


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
        [name, form, action.normalize or "as predicted"]
        for part in action.parts
        for name, form in target_forms(part)
    ]


def _results(bundle: Bundle, fits: Sequence[Robot]) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "path": str(bundle.path),
        "cameras": list(bundle.cameras),
        "replan_s": bundle.replan_s,
        "files": {name: len(data) for name, data in bundle.files.items()},
        "fits": [robot.name for robot in fits],
        "document": bundle.document.model_dump(mode="json"),
    }

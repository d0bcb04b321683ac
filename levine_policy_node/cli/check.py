# SPDX-License-Identifier: Apache-2.0
"""`levine check BUNDLE`: what a policy sees and does, and whether it fits a robot."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import Robot, load_robot, robots_directory
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.bundle_schema import JointTarget, VelocityTarget
from levine_policy_node.runtime.decoder_schema import DiffusionDecoder, FlowDecoder, OneDecoder
from levine_policy_node.runtime.image_schema import ImageSpec
from levine_policy_node.runtime.observation_schema import ImageObservation, JointTerm, PolicyInput
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.planner_schema import CemDecoder, MppiDecoder
from levine_policy_node.runtime.token_schema import AutoregressiveDecoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine check`."""
    parser.add_argument("bundle", metavar="BUNDLE", help="policy bundle: a path or a shipped name")
    parser.add_argument("--robot", help="robot file it must fit: a shipped name or a path")


def run(options: argparse.Namespace) -> int:
    """Verify the bundle, run its graph for the robot, and print what it is."""
    bundle = load_bundle(options.bundle)
    if options.robot:
        robot = load_robot(options.robot)
        bundle.check_robot(robot)
        fits = [robot]
    else:
        fits = [robot for robot in _shipped_robots() if _fits(bundle, robot)]
    for robot in fits[:1]:
        # Loading compares the graph with the document and runs it on plausible observations.
        OnnxPolicy(bundle, robot).close()
    write_json(options.json, _results(bundle, fits))
    print(_describe(bundle))
    names = ", ".join(robot.name for robot in fits)
    print(f"\n  fits        {names or 'none of the robot files that ship'}")
    if fits:
        print(f"  graph       loaded, and ran on plausible observations of {fits[0].name}")
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
    parts = [
        f"{bundle.name}@{bundle.hash8}  {document.description}".rstrip(),
        f"  path        {bundle.path}",
        f"  made for    {document.robot}",
        f"  files       {sizes}",
        f"  rate        {document.rate:g} Hz: {chunk.size} rows are {chunk.size / document.rate:g}"
        f" s; it looks again {_replan_form(bundle)}",
        f"  decoder     {_decoder_form(bundle)}",
        "",
        "It sees:",
        format_table(["input", "from", "as"], _observation_rows(bundle)),
        "",
        "It does:",
        format_table(["joint", "target", "as"], _action_rows(bundle)),
    ]
    return "\n".join(parts)


def _decoder_form(bundle: Bundle) -> str:
    document = bundle.document
    form = " beside ".join(_one_decoder(decoder) for decoder in document.decoders)
    graphs = " and ".join(document.graphs.files)
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
        if isinstance(spec, ImageObservation):
            camera = bundle.document.cameras[key]
            rows.append([name, f"camera {camera}", _image_form(spec.image)])
            continue
        if isinstance(spec, PolicyInput):
            rows.append([name, spec.kind.replace("/", ": ").replace("_", " "), "as computed"])
            continue
        for term in spec.terms:
            quantity = term.kind.removeprefix("state/").replace("/", " ")
            lines = textwrap.wrap(f"{quantity}: {', '.join(term.names)}", 44)
            rows.append([name, lines[0], _number_form(spec, term)])
            rows += [["", line, ""] for line in lines[1:]]
            name = ""
    return rows


def _image_form(image: ImageSpec) -> str:
    shape = " x ".join(str(size) for size in image.shape)
    low, high = image.range
    values = image.dtype if image.dtype == "uint8" else f"{low:g} .. {high:g}"
    steps = ["" if image.crop is None else f"crop {image.crop}", image.resize]
    if image.mean is not None:
        steps.append("mean and std")
    return ", ".join([f"{shape} ({image.layout})", values, *filter(None, steps)])


def _number_form(spec: Any, term: JointTerm) -> str:
    steps = [spec.normalize or "as measured"]
    if term.scale != 1.0 or term.offset != 0.0:
        steps.append("scaled")
    return ", ".join(steps)


def _replan_form(bundle: Bundle) -> str:
    chunk = bundle.document.chunk
    if chunk.replan == "at_once":
        return "as soon as it has answered"
    if chunk.replan == "threshold":
        return f"when {chunk.threshold_s:g} s are left to play"
    return f"after {chunk.execute} rows ({bundle.replan_s:g} s)"


def _target(part: JointTarget | VelocityTarget) -> str:
    return f"position, {part.mode}" if isinstance(part, JointTarget) else "velocity, summed up"


def _action_rows(bundle: Bundle) -> list[list[str]]:
    action = bundle.document.action
    return [
        [name, _target(part), action.normalize or "as predicted"]
        for part in action.parts
        for name in part.names
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

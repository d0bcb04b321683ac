# SPDX-License-Identifier: Apache-2.0
"""Whether the graphs of a bundle are what its document says; the decoder that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from levine_policy_node.core.decoders.decoder import Decoder
from levine_policy_node.core.decoders.direct import DirectDecoder, direct_shapes
from levine_policy_node.core.decoders.flow import FlowDecoder, TimeShape
from levine_policy_node.core.rtc import Guidance, HardPrefix
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime import graph_schema as schema
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs, TensorInfo

_VELOCITIES = ("v_t", "velocity")


def check_inputs(
    document: BundleDocument,
    graphs: OnnxGraphs,
    observed: Mapping[str, tuple[tuple[int, ...], str]],
    made: Iterable[str],
) -> None:
    """Check that every graph input is fed once, and that every observation goes somewhere.

    Args:
        document: The bundle's document.
        graphs: Its graphs.
        observed: Shape and dtype of what is made of observations, by graph input.
        made: Other graph inputs that the runtime makes.

    Raises:
        BundleError: With the first input or observation that does not fit.
    """
    given = {*observed, *made}
    taken: set[str] = set()
    for role in graphs.roles:
        more = _looped(document, graphs) if role == "step" else set[str]()
        twice = sorted(given & more)
        if twice:
            raise BundleError(
                graphs.file(role), f"input {twice[0]}", "is fed by policy.yaml and by the decoder"
            )
        for name, info in graphs.inputs(role).items():
            if name not in given | more:
                raise BundleError(
                    graphs.file(role),
                    f"input {name}",
                    f"nothing feeds it; policy.yaml gives {_list(given | more)}",
                    "Name it under observations (or in a field 'tensor')",
                )
            if name in observed:
                _check_observation(graphs.file(role), name, info, *observed[name])
        taken |= set(graphs.inputs(role))
    unused = sorted(given - taken)
    if unused:
        inputs = {name for role in graphs.roles for name in graphs.inputs(role)}
        raise BundleError(
            graphs.file("step"),
            "observations",
            f"no graph has the input {unused[0]}; they have {_list(inputs)}",
            "Remove it, or name its input in the field 'tensor'",
        )


def make_decoder(document: BundleDocument, graphs: OnnxGraphs) -> Decoder:
    """Build the decoder that the document names.

    Raises:
        BundleError: If the step graph does not have the inputs and outputs it needs.
    """
    if isinstance(document.decoder, schema.FlowDecoder):
        return _flow(document, document.decoder, graphs)
    return _direct(document, document.decoder, graphs)


def _looped(document: BundleDocument, graphs: OnnxGraphs) -> set[str]:
    """Inputs of `step` that the decoder feeds."""
    names: set[str] = set()
    if isinstance(document.decoder, schema.FlowDecoder):
        names = {document.decoder.x, document.decoder.time}
    if "encode" in graphs.roles:
        names |= set(graphs.outputs("encode"))
    return names


def _check_observation(
    file: str, name: str, info: TensorInfo, shape: tuple[int, ...], dtype: str
) -> None:
    if info.dtype != dtype or not info.fits(shape):
        raise BundleError(
            file,
            f"input {name}",
            f"is {info}, but the observation gives {dtype} of shape {list(shape)}",
            "Correct the observation in policy.yaml or export the graph again",
        )


def _output(
    file: str,
    outputs: Mapping[str, TensorInfo],
    field: str,
    named: str | None,
    usual: tuple[str, ...] = (),
) -> str:
    """The output that is named; else one with a usual name, or the only one."""
    if named is None and len(outputs) == 1:
        return next(iter(outputs))
    for name in usual if named is None else (named,):
        if name in outputs:
            return name
    problem = "is needed" if named is None else f"'{named}' is not an output of the graph"
    raise BundleError(file, f"decoder.{field}", problem, f"Outputs: {', '.join(outputs)}")


def _direct(
    document: BundleDocument, spec: schema.DirectDecoder, graphs: OnnxGraphs
) -> DirectDecoder:
    file, outputs = graphs.file("step"), graphs.outputs("step")
    name = _output(file, outputs, "output", spec.output)
    rows, width = document.chunk.size, len(document.action.names)
    shapes = direct_shapes(rows, width)
    if not any(outputs[name].fits(shape) for shape in shapes):
        raise BundleError(
            file,
            f"output {name}",
            f"has shape {list(outputs[name].shape)}, but chunk.size and action.parts make "
            f"{list(shapes[0])}",
            "Correct chunk and action in policy.yaml or export the graph again",
        )
    return DirectDecoder(name, rows, width)


def _flow(document: BundleDocument, spec: schema.FlowDecoder, graphs: OnnxGraphs) -> FlowDecoder:
    file, inputs, outputs = graphs.file("step"), graphs.inputs("step"), graphs.outputs("step")
    columns = len(document.action.names)
    rows, width = spec.shape or (document.chunk.size, columns)
    for field, name in (("x", spec.x), ("time", spec.time)):
        if name not in inputs:
            raise BundleError(
                file,
                f"decoder.{field}",
                f"'{name}' is not an input of the graph",
                f"Inputs: {', '.join(inputs)}",
            )
    velocity = _output(file, outputs, "velocity", spec.velocity, _VELOCITIES)
    shape = (1, rows, width)
    for what, name, info in (
        ("input", spec.x, inputs[spec.x]),
        ("output", velocity, outputs[velocity]),
    ):
        if info.dtype != "float32" or not info.fits(shape):
            raise BundleError(
                file,
                f"{what} {name}",
                f"is {info}, but the decoder's sample is float32 of shape {list(shape)}",
                "Correct chunk.size, action.parts or decoder.shape, or export the graph again",
            )
    time_shape = _time_shape(file, spec.time, inputs[spec.time], rows)
    rtc = _rtc(document.rtc)
    if isinstance(rtc, HardPrefix) and time_shape != "token":
        raise BundleError(
            file,
            f"input {spec.time}",
            f"is {inputs[spec.time]}, but chunk.rtc.mode trained needs a time per row, "
            f"[1, {rows}]",
            "Export the graph with a time per row, or use mode guided",
        )
    encode = "encode" in graphs.roles
    return FlowDecoder(
        rows, columns, width, spec.steps, spec.x, spec.time, velocity, time_shape, encode, rtc
    )


def _time_shape(file: str, name: str, info: TensorInfo, rows: int) -> TimeShape:
    shapes: dict[TimeShape, tuple[int, ...]] = {"scalar": (), "sample": (1,), "token": (1, rows)}
    for kind, shape in shapes.items():
        if info.dtype == "float32" and info.fits(shape):
            return kind
    raise BundleError(
        file, f"input {name}", f"is {info}, but a flow time is float32 of shape [1] or [1, {rows}]"
    )


def _rtc(spec: schema.RtcSpec | None) -> Guidance | HardPrefix | None:
    if spec is None or spec.mode == "graph":
        return None
    if spec.mode == "trained":
        return HardPrefix()
    return Guidance(
        schedule=spec.schedule or "linear",
        execution_horizon=spec.execution_horizon or schema.DEFAULT_HORIZON,
        max_weight=spec.max_guidance_weight or schema.DEFAULT_MAX_WEIGHT,
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"

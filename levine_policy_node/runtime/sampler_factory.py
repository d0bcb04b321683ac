# SPDX-License-Identifier: Apache-2.0
"""Flow and diffusion decoders of a document, checked against the graphs they will run."""

from __future__ import annotations

from levine_policy_node.core.decoders.diffusion import DiffusionDecoder
from levine_policy_node.core.decoders.flow import FlowDecoder, TimeShape
from levine_policy_node.core.diffusion_schedule import (
    Clip,
    cumulative_alphas,
    ddim_steps,
    ddpm_steps,
)
from levine_policy_node.core.rtc import Guidance, HardPrefix
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime import decoder_schema as schema
from levine_policy_node.runtime.graph_check import named_input, named_output
from levine_policy_node.runtime.graph_schema import (
    DEFAULT_HORIZON,
    DEFAULT_MAX_WEIGHT,
    STEP,
    RtcSpec,
)
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.tensor_info import TensorInfo

_VELOCITIES = ("v_t", "velocity")
_NOISES = ("noise_pred", "eps", "epsilon")
_TIMES = ("int64", "int32", "float32")


def make_flow(
    spec: schema.FlowDecoder,
    graphs: OnnxGraphs,
    rows: int,
    columns: int,
    *,
    encode: bool,
    rtc: RtcSpec | None,
) -> FlowDecoder:
    """Build a flow decoder.

    Raises:
        BundleError: If the step graph does not have the inputs and outputs it needs.
    """
    file, inputs, outputs = graphs.file(STEP), graphs.inputs(STEP), graphs.outputs(STEP)
    width = columns if spec.shape is None else spec.shape[1]
    sample = named_input(file, inputs, "x", spec.x)
    time = named_input(file, inputs, "time", spec.time)
    velocity = named_output(file, outputs, "velocity", spec.velocity, _VELOCITIES)
    shape = (1, rows, width)
    _check_sample(file, f"input {spec.x}", sample, shape)
    _check_sample(file, f"output {velocity}", outputs[velocity], shape)
    time_shape = _time_shape(file, spec.time, time, rows)
    steering = _rtc(rtc)
    if isinstance(steering, HardPrefix) and time_shape != "token":
        raise BundleError(
            file,
            f"input {spec.time}",
            f"is {time}, but chunk.rtc.mode trained needs a time per row, [1, {rows}]",
            "Export the graph with a time per row, or use mode guided",
        )
    return FlowDecoder(
        rows=rows,
        columns=columns,
        width=width,
        steps=spec.steps,
        sample=spec.x,
        time=spec.time,
        velocity=velocity,
        time_shape=time_shape,
        encode=encode,
        rtc=steering,
    )


def make_diffusion(
    spec: schema.DiffusionDecoder, graphs: OnnxGraphs, rows: int, columns: int, *, encode: bool
) -> DiffusionDecoder:
    """Build a diffusion decoder.

    Raises:
        BundleError: If the step graph does not have the inputs and outputs it needs.
    """
    file, inputs, outputs = graphs.file(STEP), graphs.inputs(STEP), graphs.outputs(STEP)
    sample = named_input(file, inputs, "sample", spec.sample)
    time = named_input(file, inputs, "timestep", spec.timestep)
    output = named_output(file, outputs, "output", spec.output, _NOISES)
    shape = spec.shape or (rows, columns)
    drawn = (spec.samples, *shape)
    _check_sample(file, f"input {spec.sample}", sample, drawn)
    _check_sample(file, f"output {output}", outputs[output], drawn)
    if time.dtype not in _TIMES:
        raise BundleError(
            file, f"input {spec.timestep}", f"is {time}, but a timestep is {' or '.join(_TIMES)}"
        )
    alphas = cumulative_alphas(
        spec.beta_schedule, spec.num_train_timesteps, spec.beta_start, spec.beta_end
    )
    if spec.scheduler == "ddpm":
        steps = ddpm_steps(alphas, spec.steps, spec.prediction, spec.variance)
    else:
        steps = ddim_steps(
            alphas,
            spec.steps,
            spec.prediction,
            set_alpha_to_one=spec.set_alpha_to_one,
            eta=spec.eta,
        )
    return DiffusionDecoder(
        rows=rows,
        columns=columns,
        shape=shape,
        steps=steps,
        sample=spec.sample,
        time=spec.timestep,
        output=output,
        # Octo declares a time per window; a free axis is the batch.
        time_shape=tuple(s if isinstance(s, int) else spec.samples for s in time.shape),
        time_dtype=time.dtype,
        encode=encode,
        clip=None if spec.clip_sample is None else Clip(spec.clip_sample, spec.clip_on),
        index=spec.index,
        samples=spec.samples,
        padding=spec.padding,
    )


def _check_sample(file: str, field: str, info: TensorInfo, shape: tuple[int, ...]) -> None:
    if info.dtype != "float32" or not info.fits(shape):
        raise BundleError(
            file,
            field,
            f"is {info}, but the decoder's sample is float32 of shape {list(shape)}",
            "Correct chunk.size, action.parts or decoder.shape, or export the graph again",
        )


def _time_shape(file: str, name: str, info: TensorInfo, rows: int) -> TimeShape:
    shapes: dict[TimeShape, tuple[int, ...]] = {"scalar": (), "sample": (1,), "token": (1, rows)}
    for kind, shape in shapes.items():
        if info.dtype == "float32" and info.fits(shape):
            return kind
    raise BundleError(
        file, f"input {name}", f"is {info}, but a flow time is float32 of shape [1] or [1, {rows}]"
    )


def _rtc(spec: RtcSpec | None) -> Guidance | HardPrefix | None:
    if spec is None or spec.mode == "graph":
        return None
    if spec.mode == "trained":
        return HardPrefix()
    return Guidance(
        schedule=spec.schedule or "linear",
        execution_horizon=spec.execution_horizon or DEFAULT_HORIZON,
        max_weight=spec.max_guidance_weight or DEFAULT_MAX_WEIGHT,
    )

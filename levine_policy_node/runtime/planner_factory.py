# SPDX-License-Identifier: Apache-2.0
"""CEM and MPPI decoders of a document, checked against the graph that values candidates."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.decoders.candidates import Evaluation
from levine_policy_node.core.decoders.cem import CemDecoder
from levine_policy_node.core.decoders.mppi import MppiDecoder
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime import planner_schema as schema
from levine_policy_node.runtime.chunk_schema import ChunkSpec
from levine_policy_node.runtime.graph_check import named_input, named_output
from levine_policy_node.runtime.graph_schema import STEP
from levine_policy_node.runtime.observation_schema import Numbers
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs


def make_planner(
    spec: schema.CemDecoder | schema.MppiDecoder,
    graphs: OnnxGraphs,
    chunk: ChunkSpec,
    columns: int,
    *,
    encode: bool,
) -> CemDecoder | MppiDecoder:
    """Build a planner.

    Raises:
        BundleError: If the step graph does not take candidates or value them.
    """
    horizon = spec.horizon or chunk.size
    evaluation = _evaluation(spec, graphs, horizon, columns)
    bounds = None
    if spec.bounds is not None:
        bounds = (_each(spec.bounds[0], columns), _each(spec.bounds[1], columns))
    if isinstance(spec, schema.MppiDecoder):
        return MppiDecoder(
            rows=chunk.size,
            horizon=horizon,
            evaluation=evaluation,
            samples=spec.samples,
            kappa=1.0 / spec.temperature,
            std=_each(spec.std, columns),
            beta=spec.noise_beta,
            shift=chunk.execute,
            bounds=bounds,
            encode=encode,
        )
    return CemDecoder(
        rows=chunk.size,
        horizon=horizon,
        evaluation=evaluation,
        samples=spec.samples,
        elites=spec.elites,
        iterations=spec.iterations,
        mean=_each(spec.mean, columns),
        std=_each(spec.std, columns),
        bounds=bounds,
        repeat=spec.repeat,
        covariance=spec.covariance or ("diagonal" if horizon == 1 else "full"),
        reuse=chunk.execute if spec.reuse_mean else None,
        encode=encode,
    )


def _evaluation(
    spec: schema.Planner, graphs: OnnxGraphs, horizon: int, columns: int
) -> Evaluation:
    file = graphs.file(STEP)
    action = named_input(file, graphs.inputs(STEP), "action", spec.action)
    value = named_output(file, graphs.outputs(STEP), "value", spec.value)
    flat = horizon == 1 and len(action.shape) == 2
    batch = min(spec.batch or spec.samples, spec.samples)
    for count in {batch, spec.samples % batch or batch}:
        shape = (count, columns) if flat else (count, horizon, columns)
        if action.dtype != "float32" or not action.fits(shape):
            raise BundleError(
                file,
                f"input {spec.action}",
                f"is {action}, but the candidates are float32 of shape {list(shape)}",
                "Export the graph with a free first axis, or correct samples, batch and horizon",
            )
        info = graphs.outputs(STEP)[value]
        if not (info.fits((count,)) or info.fits((count, 1))):
            raise BundleError(
                file, f"output {value}", f"is {info}, but must be one number per candidate"
            )
    return Evaluation(spec.action, value, spec.better_is_more, flat, spec.batch)


def _each(value: Numbers, columns: int) -> FloatArray:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (columns,)).copy()

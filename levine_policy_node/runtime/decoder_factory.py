# SPDX-License-Identifier: Apache-2.0
"""The decoder that follows from a document, checked against the graphs it will run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.decoders.argmax import ArgmaxDecoder
from levine_policy_node.core.decoders.bins import BinsDecoder, bin_shapes
from levine_policy_node.core.decoders.concatenated import ConcatenatedDecoder
from levine_policy_node.core.decoders.decoder import Decoder
from levine_policy_node.core.decoders.direct import DirectDecoder, direct_shapes
from levine_policy_node.core.decoders.gaussian import GaussianDecoder
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime import decoder_schema as schema
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.graph_check import named_output
from levine_policy_node.runtime.graph_schema import ENCODE, Role
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.planner_factory import make_planner
from levine_policy_node.runtime.planner_schema import CemDecoder, MppiDecoder
from levine_policy_node.runtime.sampler_factory import make_diffusion, make_flow
from levine_policy_node.runtime.tensor_info import TensorInfo
from levine_policy_node.runtime.token_factory import bin_values, make_autoregressive, token_numbers
from levine_policy_node.runtime.token_schema import AutoregressiveDecoder
from levine_policy_node.runtime.token_schema import BinsDecoder as BinsSpec


@dataclass(frozen=True, slots=True)
class _Share:
    """A decoder's graphs and its share of the action."""

    graphs: OnnxGraphs
    rows: int
    columns: int
    encode: bool

    def check(self, role: Role, name: str, *shapes: tuple[int, ...]) -> None:
        """Refuse an output that has none of the shapes."""
        found = self.graphs.outputs(role)[name]
        if not any(found.fits(shape) for shape in shapes):
            raise BundleError(
                self.graphs.file(role),
                f"output {name}",
                f"has shape {list(found.shape)}, but chunk.size and action.parts make "
                f"{list(shapes[0])}",
                "Correct chunk and action in policy.yaml or export the graph again",
            )

    def output(self, role: Role, field: str, named: str | None) -> tuple[str, TensorInfo]:
        """Name and declaration of an output."""
        outputs = self.graphs.outputs(role)
        name = named_output(self.graphs.file(role), outputs, field, named)
        return name, outputs[name]


def make_decoder(bundle: Bundle, graphs: OnnxGraphs) -> Decoder:
    """Build the decoder that the bundle's document names.

    Raises:
        BundleError: If a graph does not have the inputs and outputs it needs.
    """
    document = bundle.document
    encode = ENCODE in graphs.roles
    if not isinstance(document.decoder, tuple):
        columns = document.action.columns
        return _one(bundle, document.decoder, columns, _share(bundle, graphs, columns, encode))
    widths = schema.decoder_columns(document.decoder, document.action.columns)
    return ConcatenatedDecoder(
        tuple(
            _one(bundle, spec, width, _share(bundle, graphs, width, encode=False))
            for spec, width in zip(document.decoder, widths, strict=True)
        ),
        encode,
    )


def _share(bundle: Bundle, graphs: OnnxGraphs, columns: int, encode: bool) -> _Share:  # noqa: FBT001
    return _Share(graphs, bundle.document.chunk.size, columns, encode)


def _one(bundle: Bundle, spec: schema.OneDecoder, columns: int, share: _Share) -> Decoder:
    document, graphs, encode = bundle.document, share.graphs, share.encode
    if isinstance(spec, schema.FlowDecoder):
        rtc = document.rtc if len(document.decoders) == 1 else None
        return make_flow(spec, graphs, share.rows, columns, encode=encode, rtc=rtc)
    if isinstance(spec, schema.DiffusionDecoder):
        return make_diffusion(spec, graphs, share.rows, columns, encode=encode)
    if isinstance(spec, CemDecoder | MppiDecoder):
        return make_planner(spec, graphs, document.chunk, columns, encode=encode)
    if isinstance(spec, AutoregressiveDecoder):
        return make_autoregressive(spec, graphs, bundle, columns, encode=encode)
    if isinstance(spec, schema.GaussianDecoder):
        return _gaussian(spec, share)
    if isinstance(spec, schema.ArgmaxDecoder):
        return _argmax(spec, share)
    return _bins(spec, share) if isinstance(spec, BinsSpec) else _direct(spec, share)


def _direct(spec: schema.DirectDecoder, share: _Share) -> DirectDecoder:
    name, info = share.output(spec.graph, "output", spec.output)
    shapes = direct_shapes(share.rows, share.columns)
    if spec.index is not None and len(info.shape) == 3 and isinstance(info.shape[1], int):
        shapes = ((1, info.shape[1], share.columns),)
        if not -info.shape[1] <= spec.index < info.shape[1]:
            raise BundleError(
                share.graphs.file(spec.graph),
                f"output {name}",
                f"has {info.shape[1]} rows, and decoder.index {spec.index} is none of them",
            )
    share.check(spec.graph, name, *shapes)
    return DirectDecoder(name, share.rows, share.columns, spec.graph, spec.index)


def _gaussian(spec: schema.GaussianDecoder, share: _Share) -> GaussianDecoder:
    shapes = direct_shapes(share.rows, share.columns)
    mean, _ = share.output(spec.graph, "mean", spec.mean)
    share.check(spec.graph, mean, *shapes)
    log_std = None
    if not spec.deterministic:
        log_std, _ = share.output(spec.graph, "log_std", spec.log_std or "")
        share.check(spec.graph, log_std, *shapes)
    return GaussianDecoder(
        rows=share.rows,
        columns=share.columns,
        mean=mean,
        log_std=log_std,
        squash=spec.squash == "tanh",
        clamp=spec.log_std_range,
        role=spec.graph,
        encode=share.encode,
    )


def _argmax(spec: schema.ArgmaxDecoder, share: _Share) -> ArgmaxDecoder:
    name, _ = share.output(spec.graph, "output", spec.output)
    values = np.array(spec.values, dtype=np.float64).reshape(len(spec.values), -1)
    share.check(spec.graph, name, *direct_shapes(share.rows, len(values)))
    return ArgmaxDecoder(share.rows, name, values, spec.graph, share.encode)


def _bins(spec: BinsSpec, share: _Share) -> BinsDecoder:
    name, info = share.output(spec.graph, "output", spec.output)
    last = info.shape[-1] if info.shape else None
    vocabulary = last if isinstance(last, int) else spec.bins
    share.check(spec.graph, name, *bin_shapes(share.rows, share.columns, vocabulary))
    highest = spec.first_token if spec.descending else spec.first_token + spec.bins - 1
    highest = max(highest, spec.allowed[1] if spec.allowed is not None else 0)
    if highest >= vocabulary:
        raise BundleError(
            share.graphs.file(spec.graph),
            f"output {name}",
            f"has {vocabulary} logits per value, but decoder.bins and first_token go to {highest}",
        )
    return BinsDecoder(
        rows=share.rows,
        columns=share.columns,
        vocabulary=vocabulary,
        output=name,
        values=bin_values(spec, share.columns),
        tokens=token_numbers(spec),
        allowed=spec.allowed,
        role=spec.graph,
        encode=share.encode,
    )

# SPDX-License-Identifier: Apache-2.0
"""What decoders ask of the rest of `policy.yaml`: its graphs, its chunk, its columns."""

from __future__ import annotations

import math
from typing import Protocol

from levine_policy_node.runtime.decoder_schema import (
    DiffusionDecoder,
    DirectDecoder,
    FlowDecoder,
    OneDecoder,
    decoder_columns,
    decoder_roles,
)
from levine_policy_node.runtime.graph_schema import ENCODE, Graphs
from levine_policy_node.runtime.planner_schema import CemDecoder, MppiDecoder
from levine_policy_node.runtime.token_schema import (
    AutoregressiveDecoder,
    Bins,
    BinsDecoder,
    BinTokens,
)

_MAX_CANDIDATE_VALUES = 10_000_000


class Chunk(Protocol):
    """What is needed of `chunk`."""

    @property
    def size(self) -> int:
        """Rows."""
        ...

    @property
    def replan(self) -> str:
        """When to infer."""
        ...


def check_decoders(
    decoders: tuple[OneDecoder, ...], graphs: Graphs, chunk: Chunk, columns: int
) -> None:
    """Refuse decoders that contradict the rest of the document.

    Raises:
        ValueError: With the first contradiction.
    """
    _check_roles(decoders, graphs)
    widths = decoder_columns(decoders, columns)
    for decoder, width in zip(decoders, widths, strict=True):
        if isinstance(decoder, FlowDecoder):
            _check_flow(decoder, chunk.size, width)
        elif isinstance(decoder, DiffusionDecoder):
            _check_diffusion(decoder, chunk.size, width)
        elif isinstance(decoder, CemDecoder | MppiDecoder):
            _check_planner(decoder, chunk, width)
        elif isinstance(decoder, AutoregressiveDecoder):
            _check_tokens(decoder, chunk.size, width)
        elif isinstance(decoder, BinsDecoder):
            decoder.check_columns(width)
        elif isinstance(decoder, DirectDecoder) and decoder.index is not None and chunk.size > 1:
            raise ValueError(f"decoder.index takes one row, but chunk.size is {chunk.size}")


def _check_roles(decoders: tuple[OneDecoder, ...], graphs: Graphs) -> None:
    if len(decoders) == 1 and isinstance(decoders[0], DirectDecoder) and graphs.encode is not None:
        raise ValueError("graphs.encode is given, but decoder direct runs step only")
    run = {role for decoder in decoders for role in decoder_roles(decoder)}
    given = graphs.pipelines
    for role in sorted(run - set(given)):
        raise ValueError(f"decoder.graph {role} is not one of graphs: {', '.join(given)}")
    if ENCODE in run:
        raise ValueError("decoder.graph encode: that graph runs before all decoders")
    for role in given:
        if role not in {ENCODE, *run}:
            raise ValueError(f"graphs.{role} is run by no decoder")


def _check_flow(decoder: FlowDecoder, rows: int, columns: int) -> None:
    shape = decoder.shape or (rows, columns)
    if shape[0] != rows or shape[1] < columns:
        raise ValueError(
            f"decoder.shape {list(shape)} must have chunk.size {rows} rows and at least the "
            f"{columns} columns of action.parts"
        )


def _check_diffusion(decoder: DiffusionDecoder, rows: int, columns: int) -> None:
    shape = decoder.shape or (rows, columns)
    action = shape if decoder.index is None else shape[1:]
    size = math.prod(action)
    if len(action) > 2 or (len(action) == 2 and action[0] != rows) or size % rows:
        raise ValueError(
            f"decoder.shape {list(shape)} must have chunk.size {rows} rows, flat or not"
            + ("" if decoder.index is not None else "; index says which window is the action")
        )
    if size // rows < columns:
        raise ValueError(
            f"decoder.shape {list(shape)} has {size // rows} columns, but action.parts {columns}"
        )


def _check_planner(decoder: CemDecoder | MppiDecoder, chunk: Chunk, columns: int) -> None:
    decoder.check_columns(columns)
    horizon = decoder.horizon or chunk.size
    if horizon < chunk.size:
        raise ValueError(f"decoder.horizon {horizon} is less than chunk.size {chunk.size}")
    if isinstance(decoder, CemDecoder) and horizon % decoder.repeat:
        raise ValueError(f"decoder.horizon {horizon} is no multiple of repeat {decoder.repeat}")
    if decoder.samples * horizon * columns > _MAX_CANDIDATE_VALUES:
        raise ValueError(
            f"decoder: samples x horizon x columns is more than {_MAX_CANDIDATE_VALUES}"
        )
    remembers = isinstance(decoder, MppiDecoder) or decoder.reuse_mean
    if remembers and chunk.replan != "every":
        raise ValueError(
            "decoder: a plan goes on by chunk.execute rows each time and needs chunk.replan: every"
        )


def _check_tokens(decoder: AutoregressiveDecoder, rows: int, columns: int) -> None:
    detokenize = decoder.detokenize
    if isinstance(detokenize, Bins):
        detokenize.check_columns(columns)
    needed = rows * columns
    if isinstance(detokenize, BinTokens) and (
        decoder.tokens < needed or (decoder.stop is None and decoder.tokens != needed)
    ):
        raise ValueError(
            f"decoder.tokens {decoder.tokens} must be {needed}: chunk.size times the columns"
        )

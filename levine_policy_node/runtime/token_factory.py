# SPDX-License-Identifier: Apache-2.0
"""Autoregressive decoders of a document, checked against the graphs they will run."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.bin_values import BinValues, TokenNumbers
from levine_policy_node.core.decoders.autoregressive import AutoregressiveDecoder
from levine_policy_node.core.detokenizers import (
    BinDetokenizer,
    Detokenizer,
    FastDetokenizer,
    Spelled,
    TextDetokenizer,
)
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime import token_schema as schema
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.graph_check import named_input
from levine_policy_node.runtime.graph_schema import ENCODE, STEP
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.text_inputs import load_tokenizer
from levine_policy_node.runtime.token_cache import cache_entries


def make_autoregressive(
    spec: schema.AutoregressiveDecoder,
    graphs: OnnxGraphs,
    bundle: Bundle,
    columns: int,
    *,
    encode: bool,
) -> AutoregressiveDecoder:
    """Build an autoregressive decoder.

    Raises:
        BundleError: If the graphs do not take tokens and return logits, or the tokenizer cannot be
            read.
    """
    for role in (ENCODE, STEP) if encode else (STEP,):
        if spec.logits not in graphs.outputs(role):
            raise BundleError(
                graphs.file(role),
                "decoder.logits",
                f"'{spec.logits}' is not an output of the graph",
                f"Outputs: {', '.join(graphs.outputs(role))}",
            )
        _check_vocabulary(spec, graphs, role)
    ids = named_input(graphs.file(STEP), graphs.inputs(STEP), "ids", spec.ids)
    if ids.dtype != "int64" or not ids.fits((1, 1)):
        raise BundleError(
            graphs.file(STEP),
            f"input {spec.ids}",
            f"is {ids}, but tokens are int64 of (1, n)",
        )
    observed = {
        getattr(value, "tensor", None) or key
        for key, value in bundle.document.observations.items()
    }
    if not spec.prompt and spec.ids not in observed:
        raise BundleError(
            graphs.file(STEP),
            f"input {spec.ids}",
            "no observation gives a prompt",
            "Name it under observations, or give decoder.prompt for a policy with one task",
        )
    return AutoregressiveDecoder(
        detokenizer=_detokenizer(spec, bundle, columns),
        count=spec.tokens,
        cache=cache_entries(graphs),
        encode=encode,
        ids=spec.ids,
        mask=spec.mask,
        positions=spec.positions,
        logits=spec.logits,
        allowed=spec.allowed,
        stop=spec.stop,
        prompt_end=spec.prompt_end,
        begin=spec.begin,
        prompt=spec.prompt,
    )


def bin_values(spec: schema.Bins, columns: int) -> BinValues:
    """What the bins of a document mean."""
    choices = spec.choices or (None,) * columns
    return BinValues(
        bins=spec.bins,
        value=spec.value,
        low=np.broadcast_to(np.asarray(spec.low, dtype=np.float64), (columns,)),
        high=np.broadcast_to(np.asarray(spec.high, dtype=np.float64), (columns,)),
        choices=np.array([count or 0 for count in choices], dtype=np.int64),
    )


def token_numbers(spec: schema.TokenBins | schema.FastTokens) -> TokenNumbers:
    """Which token of a document is which number."""
    return TokenNumbers(spec.first_token, spec.descending)


def _check_vocabulary(spec: schema.AutoregressiveDecoder, graphs: OnnxGraphs, role: str) -> None:
    info = graphs.outputs(role)[spec.logits]
    size = info.shape[-1] if info.shape else None
    used = {"allowed": spec.allowed[1] if spec.allowed else None, "stop": spec.stop}
    for field, token in used.items():
        if token is not None and isinstance(size, int) and token >= size:
            raise BundleError(
                graphs.file(role),
                f"output {spec.logits}",
                f"has {size} logits, so there is no token {token} as decoder.{field} says",
            )


def _detokenizer(spec: schema.AutoregressiveDecoder, bundle: Bundle, columns: int) -> Detokenizer:
    means, rows = spec.detokenize, bundle.document.chunk.size
    if isinstance(means, schema.BinTokens):
        return BinDetokenizer(rows, columns, bin_values(means, columns), token_numbers(means))
    spelled = _spelled(bundle, means.tokenizer)
    if isinstance(means, schema.TextTokens):
        return TextDetokenizer(rows, columns, bin_values(means, columns), spelled)
    return FastDetokenizer(
        rows, columns, means.scale, means.min_token, token_numbers(means), spelled
    )


def _spelled(bundle: Bundle, file: str) -> Spelled:
    """Text of tokens by a `tokenizer.json`; reading one runs no code of the bundle."""
    tokenizer = load_tokenizer(bundle, file)

    def spelled(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=False))

    return spelled

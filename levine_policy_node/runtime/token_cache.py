# SPDX-License-Identifier: Apache-2.0
"""The cache of a language model, found by the names that exporters give its tensors."""

from __future__ import annotations

import re

from levine_policy_node.core.kv_cache import CacheEntry
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.graph_schema import ENCODE, STEP
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.tensor_info import TensorInfo

# `past_key_values.0.key` to `present.0.key` as Optimum has it; `past_x` to `present_x`.
_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)|past_(?!key_values)(\w+)")


def cache_entries(graphs: OnnxGraphs) -> tuple[CacheEntry, ...]:
    """The tensors that `step` takes from its last run, in the order of its inputs.

    Raises:
        BundleError: If `step` does not return one of them.
    """
    entries: list[CacheEntry] = []
    for name, info in graphs.inputs(STEP).items():
        match = _PAST.fullmatch(name)
        if match is None:
            continue
        layer, part, rest = match.groups()
        present = f"present_{rest}" if layer is None else f"present.{layer}.{part}"
        if present not in graphs.outputs(STEP):
            raise BundleError(
                graphs.file(STEP),
                f"input {name}",
                f"there is no output {present} that it continues",
                f"Outputs: {', '.join(graphs.outputs(STEP))}",
            )
        shape = _empty(graphs, name, info)
        entries.append(CacheEntry(name, present, shape, info.dtype))
    return tuple(entries)


def _empty(graphs: OnnxGraphs, name: str, info: TensorInfo) -> tuple[int, ...]:
    """Shape before there is any token: (1, heads, 0, size)."""
    fixed = (info.shape[1], info.shape[3]) if len(info.shape) == 4 else (None, None)
    if isinstance(info.shape[2] if len(info.shape) == 4 else 0, int):
        raise BundleError(
            graphs.file(STEP), f"input {name}", f"is {info}, but the number of tokens must be free"
        )
    heads, size = fixed
    if ENCODE in graphs.roles and not (isinstance(heads, int) and isinstance(size, int)):
        return (1, 0, 0, 0)  # never used: encode fills the cache
    if not (isinstance(heads, int) and isinstance(size, int)):
        raise BundleError(
            graphs.file(STEP),
            f"input {name}",
            f"is {info}; heads and size must be declared where no encode fills the cache",
        )
    return (1, heads, 0, size)

# SPDX-License-Identifier: Apache-2.0
"""`feedback` of a document: recurrent state, begun with zeros as policies are in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.feedback import Feedback
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.tensor_info import TensorInfo

_DTYPES = ("float32", "int64", "int32")


def make_feedback(document: BundleDocument, graphs: OnnxGraphs) -> Feedback:
    """The graphs, with the state that the document names.

    Raises:
        BundleError: If graphs do not have such an input or output, or they do not fit each other.
    """
    initial: dict[str, npt.NDArray[Any]] = {}
    for name, output in document.feedback.items():
        file, given = _declared(graphs, name, of="input")
        _, returned = _declared(graphs, output, of="output")
        shape = tuple(size for size in given.shape if isinstance(size, int))
        if len(shape) != len(given.shape) or given.dtype not in _DTYPES:
            raise BundleError(
                file,
                f"input {name}",
                f"is {given}, but recurrent state needs a fixed shape and one of "
                f"{', '.join(_DTYPES)}",
                "Export the graph with a batch of 1",
            )
        if returned.dtype != given.dtype or not returned.fits(shape):
            raise BundleError(
                file, f"output {output}", f"is {returned}, but goes to {name}, which is {given}"
            )
        initial[name] = np.zeros(shape, dtype=given.dtype)
    return Feedback(graphs, document.feedback, initial)


def _declared(graphs: OnnxGraphs, name: str, *, of: str) -> tuple[str, TensorInfo]:
    for role in graphs.roles:
        known = graphs.inputs(role) if of == "input" else graphs.outputs(role)
        if name in known:
            return graphs.file(role), known[name]
    raise BundleError(
        graphs.file(graphs.roles[-1]), "feedback", f"no graph has an {of} named {name}"
    )

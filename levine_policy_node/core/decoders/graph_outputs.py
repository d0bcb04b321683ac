# SPDX-License-Identifier: Apache-2.0
"""What every decoder does with graphs: encode once, and take an output of the right shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.decoders.decoder import Graphs
from levine_policy_node.core.observation import Tensors
from levine_policy_node.errors import InferenceError

STEP = "step"
ENCODE = "encode"


def encoded(graphs: Graphs, inputs: Tensors, *, encode: bool) -> Tensors:
    """The inputs with what `encode`, if there is one, makes of them; run once per inference."""
    return {**inputs, **graphs.run(ENCODE, inputs)} if encode else inputs


def taken(outputs: Tensors, name: str, *shapes: tuple[int, ...]) -> npt.NDArray[Any]:
    """The output `name`, as the first of the `shapes`.

    Args:
        outputs: Of a graph.
        name: Of the output.
        shapes: Shapes it may have, all of the same size.

    Raises:
        InferenceError: If it has none of them.
    """
    value = np.asarray(outputs[name])
    if value.shape not in shapes:
        raise InferenceError(f"output {name} has shape {value.shape}, not {shapes[0]}")
    return value.reshape(shapes[0])


def largest(scores: npt.NDArray[Any], name: str) -> npt.NDArray[np.intp]:
    """Index of the largest score along the last axis; of equal ones the first.

    Raises:
        InferenceError: If a score is not a number, so that none is the largest.
    """
    if np.any(np.isnan(scores)):
        raise InferenceError(f"output {name} is not a number somewhere")
    return np.argmax(scores, axis=-1)

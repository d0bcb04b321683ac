# SPDX-License-Identifier: Apache-2.0
"""Bundles whose graph returns what it was given, for tests of what that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle_factory import JOINTS, document, value_info, write_bundle
from onnx import TensorProto, checker, helper, numpy_helper

WIDTH = len(JOINTS)


def whole(name: str, values: Sequence[int]) -> Any:
    tensor = numpy_helper.from_array(np.asarray(values, dtype=np.int64))
    return helper.make_node("Constant", [], [name], value=tensor)


def echo_model(inputs: dict[str, tuple[Sequence[Any], int]], count: int) -> bytes:
    """`action` (1, R, 6) is all inputs as numbers, one after the other, and zeros at the end.

    Args:
        inputs: Shape and ONNX type, by name.
        count: How many numbers that is.
    """
    rows = -(-count // WIDTH)
    nodes = [whole("flat", [-1]), whole("shape", [1, rows, WIDTH])]
    nodes.append(whole("pads", [0, rows * WIDTH - count]))
    for name in inputs:
        nodes.append(helper.make_node("Cast", [name], [f"{name}.f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"{name}.f", "flat"], [f"{name}.r"]))
    nodes += [
        helper.make_node("Concat", [f"{name}.r" for name in inputs], ["all"], axis=0),
        helper.make_node("Pad", ["all", "pads"], ["padded"]),
        helper.make_node("Reshape", ["padded", "shape"], ["action"]),
    ]
    graph = helper.make_graph(
        nodes,
        "echo",
        [value_info(name, list(shape), kind) for name, (shape, kind) in inputs.items()],
        [value_info("action", [1, rows, WIDTH])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    return bytes(made.SerializeToString())


def echo_document(observations: dict[str, Any], count: int, **changes: Any) -> dict[str, Any]:
    """The document of a policy that sees `observations` and returns `count` numbers."""
    rows = -(-count // WIDTH)
    return document(
        **{
            "name": "echo",
            "observations": observations,
            "action__parts": [{"kind": "target/joint/position", "names": list(JOINTS)}],
            "chunk": {"size": rows, "execute": 1},
            **changes,
        }
    )


def write_echo(
    directory: Path,
    observations: dict[str, Any],
    inputs: dict[str, tuple[Sequence[Any], int]],
    files: dict[str, bytes] | None = None,
    count: int | None = None,
    **changes: Any,
) -> Path:
    """Write an echo bundle; `count` must be given where a shape is open."""
    numbers = count or int(sum(np.prod(shape, dtype=int) for shape, _ in inputs.values()))
    made = echo_document(observations, numbers, **changes)
    return write_bundle(directory, made, echo_model(inputs, numbers), files)

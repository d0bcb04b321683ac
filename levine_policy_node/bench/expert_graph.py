# SPDX-License-Identifier: Apache-2.0
"""A transformer with the inputs of an action expert and random weights, as ONNX.

It needs as long as a real one of its size; what it returns means nothing. Built with the package
`onnx`, which only benchmarks and tests need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

_OPSET, _IR = 17, 8
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


@dataclass(frozen=True, slots=True)
class ExpertSize:
    """How large the expert is.

    Attributes:
        width: Of a token inside.
        layers: Each self-attention and a perceptron four times as wide.
        heads: Of the attention.
        rows: Tokens, one per row of the chunk.
        columns: Of a row, padding included.
    """

    width: int
    layers: int
    heads: int = 8
    rows: int = 50
    columns: int = 32


@dataclass(slots=True)
class _Nodes:
    """Nodes and weights so far."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list[Any])
    weights: list[Any] = field(default_factory=list[Any])
    parameters: int = 0

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns its output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Add an initialiser."""
        name = f"w_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        """A layer with random weights."""
        weights = self.rng.normal(0.0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        self.parameters += weights.size + outputs
        bias = self.constant(np.zeros(outputs, dtype=np.float32))
        return self.add("Add", self.add("MatMul", x, self.constant(weights)), bias)

    def norm(self, x: str, width: int) -> str:
        """Layer normalisation."""
        self.parameters += 2 * width
        one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.add("LayerNormalization", x, self.constant(one), self.constant(zero), axis=-1)


def expert_graph(size: ExpertSize, sample: str, time: str, dtype: str) -> tuple[bytes, int]:
    """The graph of the role `step`, and how many parameters it has.

    Args:
        size: How large.
        sample: Input (1, rows, columns).
        time: Input (1,).
        dtype: Of the input `time`.
    """
    make = _Nodes(np.random.default_rng(0))
    width = size.width
    x = make.dense(sample, size.columns, width)
    seconds = make.add("Cast", time, to=TensorProto.FLOAT)
    row = make.add("Reshape", seconds, make.constant(np.array([1, 1, 1])))
    x = make.add("Add", make.add("Add", x, make.dense(row, 1, width)), "cond")
    for _ in range(size.layers):
        x = make.add("Add", x, _attention(make, make.norm(x, width), size))
        inner = make.dense(make.norm(x, width), width, 4 * width)
        half = make.constant(np.array(0.5**0.5, dtype=np.float32))
        error = make.add("Erf", make.add("Mul", inner, half))
        gate = make.add("Add", error, make.constant(np.array(1.0, dtype=np.float32)))
        x = make.add("Add", x, make.dense(make.add("Mul", inner, gate), 4 * width, width))
    output = make.dense(make.norm(x, width), width, size.columns)
    make.nodes.append(helper.make_node("Identity", [output], ["prediction"]))
    shape = [1, size.rows, size.columns]
    inputs = [
        (sample, shape, "float32"),
        (time, [1], dtype),
        ("cond", [1, 1, width], "float32"),
    ]
    return _model(make, inputs, ("prediction", shape)), make.parameters


def encoder_graph(size: ExpertSize, joints: int) -> bytes:
    """The graph of the role `encode`: the state (1, joints) as one token."""
    make = _Nodes(np.random.default_rng(1))
    token = make.dense("state", joints, size.width)
    shape = [1, 1, size.width]
    name = make.constant(np.array(shape))
    make.nodes.append(helper.make_node("Reshape", [token, name], ["cond"]))
    return _model(make, [("state", [1, joints], "float32")], ("cond", shape))


def _attention(make: _Nodes, x: str, size: ExpertSize) -> str:
    """Every row sees every row."""
    split = make.constant(np.array([1, size.rows, size.heads, size.width // size.heads]))
    parts: list[str] = []
    for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)):
        made = make.add("Reshape", make.dense(x, size.width, size.width), split)
        parts.append(make.add("Transpose", made, perm=order))
    scale = make.constant(np.array((size.width // size.heads) ** -0.5, dtype=np.float32))
    scores = make.add("Mul", make.add("MatMul", parts[0], parts[1]), scale)
    seen = make.add("MatMul", make.add("Softmax", scores, axis=-1), parts[2])
    merged = make.add("Transpose", seen, perm=(0, 2, 1, 3))
    whole = make.constant(np.array([1, size.rows, size.width]))
    return make.dense(make.add("Reshape", merged, whole), size.width, size.width)


def _model(
    make: _Nodes, inputs: list[tuple[str, list[int], str]], output: tuple[str, list[int]]
) -> bytes:
    graph = helper.make_graph(
        make.nodes,
        "expert",
        [helper.make_tensor_value_info(n, _TYPES[kind], shape) for n, shape, kind in inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        make.weights,
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR)
    return bytes(model.SerializeToString())

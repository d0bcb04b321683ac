# SPDX-License-Identifier: Apache-2.0
"""Small graphs and documents for every decoder, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from bundle_factory import JOINTS, ROWS, constant, document, model, value_info
from onnx import TensorProto, helper, numpy_helper

WIDTH = len(JOINTS)
STATE = "observation.state"
INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


def state_document(decoder: Any, **changes: Any) -> dict[str, Any]:
    """A document whose only observation is the joints, for absolute joint targets."""
    described = document(decoder=decoder, **changes)
    described["observations"] = {STATE: described["observations"][STATE]}
    described["action"]["parts"][0]["mode"] = "absolute"
    return described


def state_input() -> Any:
    return value_info(STATE, [1, WIDTH])


def node(kind: str, given: list[str], name: str, **attributes: Any) -> Any:
    return helper.make_node(kind, given, [name], **attributes)


def whole(name: str, values: Any) -> Any:
    tensor = numpy_helper.from_array(np.asarray(values, dtype=np.int64))
    return helper.make_node("Constant", [], [name], value=tensor)


def state_model(outputs: dict[str, Any], inputs: list[Any] | None = None) -> bytes:
    """Each output is a constant plus 0 times the state."""
    nodes = [
        node("ReduceSum", [STATE], "sum", keepdims=0),
        constant("zero", 0.0),
        node("Mul", ["sum", "zero"], "nothing"),
    ]
    for name, values in outputs.items():
        nodes += [constant(f"{name}_is", values), node("Add", [f"{name}_is", "nothing"], name)]
    infos = [value_info(name, list(np.shape(values))) for name, values in outputs.items()]
    return model(nodes, infos, inputs or [state_input()])


def denoise_model(
    shape: tuple[int, ...] = (1, ROWS, WIDTH),
    time: tuple[Any, ...] = (),
    kind: int = INT64,
    names: tuple[str, str, str] = ("sample", "timestep", "noise_pred"),
) -> bytes:
    """`noise_pred = 0.5 sample + 0.01 timestep + 0 state`."""
    x, t, out = names
    return model(
        [
            constant("half", 0.5),
            constant("little", 0.01),
            constant("zero", 0.0),
            whole("one", [1] * len(shape)),
            node("Cast", [t], "seconds", to=FLOAT),
            node("ReduceMax", ["seconds"], "late", keepdims=0),
            node("Mul", ["late", "little"], "share"),
            node("Mul", [x, "half"], "smaller"),
            node("ReduceSum", [STATE], "sum", keepdims=0),
            node("Mul", ["sum", "zero"], "nothing"),
            node("Add", ["smaller", "share"], "both"),
            node("Add", ["both", "nothing"], out),
        ],
        [value_info(out, list(shape))],
        [state_input(), value_info(x, list(shape)), value_info(t, list(time), kind)],
    )


def worth_model(horizon: int, goal: float, name: str = "cost") -> bytes:
    """Squared distance of the candidates to the goal, (N,)."""
    return model(
        [
            constant("goal", goal),
            constant("zero", 0.0),
            node("ReduceSum", [STATE], "sum", keepdims=0),
            node("Mul", ["sum", "zero"], "nothing"),
            node("Sub", ["action", "goal"], "gap"),
            node("Mul", ["gap", "gap"], "square"),
            whole("axes", [1, 2]),
            node("ReduceSum", ["square", "axes"], "total", keepdims=0),
            node("Add", ["total", "nothing"], name),
        ],
        [value_info(name, ["n"])],
        [state_input(), value_info("action", ["n", horizon, WIDTH])],
    )


def language_model(vocabulary: int = 32) -> bytes:
    """The next token is the sum of all tokens, modulo the vocabulary; the cache has them."""
    return model(
        [
            node("Cast", ["input_ids"], "new", to=FLOAT),
            whole("four", [1, 1, -1, 1]),
            node("Reshape", ["new", "four"], "value"),
            node("Concat", ["past_key_values.0.key", "value"], "present.0.key", axis=2),
            node("ReduceSum", ["present.0.key"], "sum", keepdims=0),
            node("Cast", ["sum"], "integer", to=INT64),
            whole("size", vocabulary),
            node("Mod", ["integer", "size"], "next"),
            whole("three", [1, 1]),
            node("Reshape", ["next", "three"], "index"),
            whole("depth", vocabulary),
            constant("values", [0.0, 1.0]),
            node("OneHot", ["index", "depth", "values"], "chosen", axis=-1),
            node("ReduceSum", [STATE], "state_sum", keepdims=0),
            constant("zero", 0.0),
            node("Mul", ["state_sum", "zero"], "nothing"),
            node("Add", ["chosen", "nothing"], "logits"),
        ],
        [
            value_info("logits", [1, 1, vocabulary]),
            value_info("present.0.key", [1, 1, "all", 1]),
        ],
        [
            state_input(),
            value_info("input_ids", [1, "new"], INT64),
            value_info("past_key_values.0.key", [1, 1, "past", 1]),
        ],
    )


def counting_model() -> bytes:
    """Every inference adds one; the first joint is the count, infinite if the state is large."""
    first = np.zeros((1, ROWS, WIDTH))
    first[..., 0] = 1.0
    return model(
        [
            constant("first", first),
            constant("one", [[1.0]]),
            node("Add", ["h_in", "one"], "h_out"),
            node("ReduceMax", [STATE], "largest", keepdims=0),
            constant("limit", 100.0),
            constant("infinity", np.inf),
            constant("nothing", 0.0),
            node("Greater", ["largest", "limit"], "far"),
            node("Where", ["far", "infinity", "nothing"], "more"),
            node("Add", ["h_out", "more"], "count"),
            node("Mul", ["first", "count"], "action"),
        ],
        [value_info("action", [1, ROWS, WIDTH]), value_info("h_out", [1, 1])],
        [state_input(), value_info("h_in", [1, 1])],
    )


def scripted_model(tokens: list[int], vocabulary: int) -> bytes:
    """Writes the same tokens whatever it reads; the cache only counts."""
    logits = np.eye(vocabulary, dtype=np.float32)[tokens][:, None, None]
    return model(
        [
            constant("table", logits),
            node("Cast", ["input_ids"], "new", to=FLOAT),
            whole("four", [1, 1, -1, 1]),
            node("Reshape", ["new", "four"], "value"),
            node("Concat", ["past_key_values.0.key", "value"], "present.0.key", axis=2),
            node("Shape", ["past_key_values.0.key"], "size"),
            whole("two", 2),
            node("Gather", ["size", "two"], "place", axis=0),
            node("Gather", ["table", "place"], "row", axis=0),
            node("ReduceSum", [STATE], "state_sum", keepdims=0),
            constant("zero", 0.0),
            node("Mul", ["state_sum", "zero"], "nothing"),
            node("Add", ["row", "nothing"], "logits"),
        ],
        [
            value_info("logits", [1, 1, vocabulary]),
            value_info("present.0.key", [1, 1, "all", 1]),
        ],
        [
            state_input(),
            value_info("input_ids", [1, "new"], INT64),
            value_info("past_key_values.0.key", [1, 1, "past", 1]),
        ],
    )

# SPDX-License-Identifier: Apache-2.0
"""The reader of ONNX files against the package `onnx`, and against bytes that are none."""

from __future__ import annotations

import onnx
import pytest
from bundle_factory import constant, model, ramp_model
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime import protobuf_fields
from levine_policy_node.runtime.bundle import load_bundle, shipped_policies
from levine_policy_node.runtime.onnx_domains import OnnxContents, check_graph, read_contents
from levine_policy_node.runtime.protobuf_fields import FieldBudget, ProtobufError, fields

NAMES = st.text(max_size=8)
DOMAINS = st.sampled_from(["", "ai.onnx", "com.microsoft", "evil", "mine"]) | NAMES


def expected(made: onnx.ModelProto) -> OnnxContents:
    """The same from the package `onnx`."""
    found = OnnxContents(imports={opset.domain for opset in made.opset_import})
    walk_graph(made.graph, found)
    for info in made.training_info:
        walk_graph(info.initialization, found)
        walk_graph(info.algorithm, found)
    for function in made.functions:
        found.functions.add((function.domain, function.name))
        found.imports |= {opset.domain for opset in function.opset_import}
        for node in function.node:
            walk_node(node, found)
        for attribute in function.attribute_proto:
            walk_attribute(attribute, found)
    return found


def walk_graph(graph, found) -> None:
    for node in graph.node:
        walk_node(node, found)
    for tensor in graph.initializer:
        walk_tensor(tensor, found)
    for sparse in graph.sparse_initializer:
        walk_sparse(sparse, found)


def walk_node(node, found) -> None:
    found.operators.add((node.domain, node.op_type))
    for attribute in node.attribute:
        walk_attribute(attribute, found)


def walk_attribute(attribute, found) -> None:
    for tensor in [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]:
        walk_tensor(tensor, found)
    for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
        walk_graph(graph, found)
    sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for tensor in [*sparse, *attribute.sparse_tensors]:
        walk_sparse(tensor, found)


def walk_sparse(sparse, found) -> None:
    for name in ("values", "indices"):
        if sparse.HasField(name):
            walk_tensor(getattr(sparse, name), found)


def walk_tensor(tensor, found) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if entries:
        found.external.append(tuple(entries.get(k) for k in ("location", "offset", "length")))


def same(content: bytes) -> None:
    found, wanted = read_contents(content), expected(onnx.load_model_from_string(content))
    assert found.imports == wanted.imports
    assert found.operators == wanted.operators
    assert found.functions == wanted.functions
    read = [(t.location, t.offset, t.length) for t in found.external]
    given_entries = [
        (a or "", b or ("0" if b is None else ""), c or "") for a, b, c in wanted.external
    ]
    assert sorted(read) == sorted(given_entries)


@st.composite
def tensors(draw):
    tensor = TensorProto(name=draw(NAMES), data_type=TensorProto.FLOAT)
    tensor.dims.extend(draw(st.lists(st.integers(0, 2**40), max_size=3)))
    tensor.raw_data = draw(st.binary(max_size=20))
    for key in draw(st.sets(st.sampled_from(["location", "offset", "length", "checksum"]))):
        tensor.external_data.add(key=key, value=draw(NAMES.filter(bool)))
    return tensor


@st.composite
def attributes(draw, depth):
    attribute = onnx.AttributeProto(name=draw(NAMES))
    if draw(st.booleans()):
        attribute.t.CopyFrom(draw(tensors()))
    attribute.tensors.extend(draw(st.lists(tensors(), max_size=1)))
    if draw(st.booleans()):
        attribute.sparse_tensor.values.CopyFrom(draw(tensors()))
    attribute.ints.extend(draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
    attribute.floats.extend([0.5] * draw(st.integers(0, 2)))
    if depth:
        attribute.g.CopyFrom(draw(graphs(depth - 1)))
        attribute.graphs.extend(draw(st.lists(graphs(depth - 1), max_size=1)))
    return attribute


@st.composite
def nodes(draw, depth):
    node = onnx.NodeProto(op_type=draw(NAMES), domain=draw(DOMAINS), name=draw(NAMES))
    node.attribute.extend(draw(st.lists(attributes(depth), max_size=2)))
    return node


@st.composite
def graphs(draw, depth=1):
    graph = onnx.GraphProto(name=draw(NAMES))
    graph.node.extend(draw(st.lists(nodes(depth), max_size=2)))
    graph.initializer.extend(draw(st.lists(tensors(), max_size=2)))
    if draw(st.booleans()):
        graph.sparse_initializer.add().indices.CopyFrom(draw(tensors()))
    return graph


@st.composite
def models(draw):
    made = onnx.ModelProto(ir_version=10, producer_name=draw(NAMES), graph=draw(graphs()))
    for domain in draw(st.lists(DOMAINS, max_size=3)):
        made.opset_import.add(domain=domain, version=draw(st.integers(0, 2**40)))
    for _ in range(draw(st.integers(0, 1))):
        function = made.functions.add(name=draw(NAMES), domain=draw(DOMAINS))
        function.node.extend(draw(st.lists(nodes(0), max_size=2)))
        function.attribute_proto.extend(draw(st.lists(attributes(0), max_size=1)))
        function.opset_import.add(domain=draw(DOMAINS))
    if draw(st.booleans()):
        made.training_info.add().algorithm.CopyFrom(draw(graphs(0)))
    return made.SerializeToString()


@settings(max_examples=70, deadline=None)
@given(models())
def test_it_finds_what_onnx_finds(content):
    same(content)


def test_it_finds_what_onnx_finds_in_the_bundles_that_ship():
    for name in shipped_policies():
        for file, content in load_bundle(name).files.items():
            if file.endswith(".onnx"):
                same(content)
                check_graph(content, file, {})


@settings(max_examples=70, deadline=None)
@given(models(), st.data())
def test_damage_is_refused_or_means_the_same_to_onnx(content, data):
    """Whatever passes and is a model to `onnx` has the same contents to both."""
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_contents(bytes(damaged))
    except ProtobufError:
        return
    try:
        onnx.load_model_from_string(bytes(damaged))
    except DecodeError:  # ONNX Runtime cannot read it, either
        return
    same(bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content):
    message = ""
    try:
        check_graph(content, "policy.onnx", {})
    except BundleError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


NODE = field(1, field(4, b"Add"))
GRAPHS = {
    "two graphs, which others merge": (field(7, NODE) + field(7, b""), "given twice"),
    "two domains, of which the last counts": (
        field(7, field(1, field(7, b"evil") + field(7, b""))),
        "given twice",
    ),
    "a graph that is a number": (b"\x38\x01", "has a number"),
    "a domain that is a number": (field(7, field(1, b"\x38\x01")), "has a number"),
    "a group": (b"\x0b\x0c", "unknown form"),
    "field 0": (b"\x02\x00", "impossible number"),
    "a tag that others cut to 32 bits": (b"\xba\x80\x80\x80\x80\x01\x00", "impossible number"),
    "a length beyond the end": (b"\x3a\xff\xff\xff\xff\x0f", "ends within"),
    "a number without end": (b"\x08" + b"\xff" * 11, "more than 64 bits"),
    "a domain that is no text": (field(7, field(1, field(7, b"\xff"))), "not UTF-8"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_what_readers_may_understand_differently_is_refused(case):
    content, problem = GRAPHS[case]
    with pytest.raises(ProtobufError, match=problem):
        read_contents(content)


def test_deep_nesting_is_refused():
    graph = b""
    for _ in range(40):
        attribute = onnx.AttributeProto(name="a").SerializeToString() + length_field(6, graph)
        graph = length_field(1, length_field(5, attribute))
    with pytest.raises(ProtobufError, match="too deep"):
        read_contents(length_field(7, graph))


def length_field(number: int, content: bytes) -> bytes:
    length, size = len(content), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def test_very_many_fields_are_refused(monkeypatch):
    budget = FieldBudget(10)
    with pytest.raises(ProtobufError, match="too many"):
        list(fields(memoryview(b"\x08\x01" * 11), budget))
    assert protobuf_fields.MAX_FIELDS >= 10**6


def test_an_operator_in_a_nested_branch_is_found():
    inner = helper.make_graph([helper.make_node("X", [], ["y"], domain="evil")], "g", [], [])
    made = onnx.load_model_from_string(ramp_model())
    for _ in range(3):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "g", [], [])
    made.graph.node.extend(inner.node)
    assert ("evil", "X") in read_contents(made.SerializeToString()).operators
    assert ("", "Constant") in read_contents(model([constant("action", 0.0)])).operators

# SPDX-License-Identifier: Apache-2.0
"""Bundles made to do harm: each is refused in one line, before ONNX Runtime sees it."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import onnx
import pytest
import yaml
from bundle_factory import document, ramp_model, value_info, write_bundle
from onnx import TensorProto, helper

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.bundle_document import read_document
from levine_policy_node.runtime.bundle_files import BundleFiles
from levine_policy_node.runtime.importers.fields import read_yaml
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.onnx_loader import OnnxOptions, graph_info
from levine_policy_node.runtime.trust import Trust

WEIGHTS = b"\x00" * 64


def one_line(caught) -> str:
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    message.encode()
    return message


def refusal(directory) -> str:
    with pytest.raises(BundleError) as caught:
        OnnxGraphs(load_bundle(directory), OnnxOptions()).close()
    return one_line(caught)


def parsed() -> onnx.ModelProto:
    return onnx.load_model_from_string(ramp_model())


def with_node(domain: str, op: str = "Run", where: str = "graph") -> bytes:
    """The ramp policy with one more node, whose result nobody uses."""
    made = parsed()
    node = helper.make_node(op, ["brightness"], ["unused"], domain=domain)
    made.opset_import.append(helper.make_opsetid(domain, 1))
    if where == "graph":
        made.graph.node.append(node)
    elif where == "branch":
        branch = helper.make_graph([node], "branch", [], [value_info("unused", [])])
        both = {"then_branch": branch, "else_branch": branch}
        yes = helper.make_node(
            "Constant", [], ["yes"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])
        )
        made.graph.node.extend([yes, helper.make_node("If", ["yes"], ["chosen"], **both)])
    else:
        function = helper.make_function(
            "mine", "F", ["brightness"], ["unused"], [node], [helper.make_opsetid(domain, 1)]
        )
        made.functions.append(function)
        made.opset_import.append(helper.make_opsetid("mine", 1))
        made.graph.node.append(helper.make_node("F", ["brightness"], ["z"], domain="mine"))
    return made.SerializeToString()


def with_weights(**entries: str) -> bytes:
    """The ramp policy with one tensor whose bytes lie in another file."""
    made = parsed()
    tensor = made.graph.initializer.add(name="weights", data_type=TensorProto.FLOAT, dims=[16])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    made.graph.node.append(helper.make_node("ReduceSum", ["weights"], ["sum"], keepdims=0))
    return made.SerializeToString()


def ort_format() -> bytes:
    """Starts as the file format that ONNX Runtime takes without looking at the protobuf."""
    return b"\x12\x08\x00\x00ORTM\x00\x00" + ramp_model()


def twice_external() -> bytes:
    made = onnx.load_model_from_string(with_weights(location="w.bin", length="64"))
    made.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    return made.SerializeToString()


GRAPHS = {
    "an operator of its own": (with_node("evil"), "operator evil:Run"),
    "one in a branch": (with_node("evil", where="branch"), "operator evil:Run"),
    "one in a function": (with_node("evil", where="function"), "operator evil:Run"),
    "python": (with_node("com.microsoft", "PythonOp"), "operator com.microsoft:PythonOp"),
    "a compiled engine": (with_node("com.microsoft", "EPContext"), "com.microsoft:EPContext"),
    "training": (with_node("ai.onnx.training", "Adam"), "operator ai.onnx.training:Adam"),
    "ort format": (ort_format(), "ORT format"),
    "cut off": (ramp_model()[:-7], "not a readable ONNX file"),
    "empty": (b"", "has no graph"),
    "text": (b"#!/bin/sh\nrm -rf /\n", "not a readable ONNX file"),
    "weights above": (with_weights(location="../w.bin"), "'../w.bin'"),
    "weights elsewhere": (with_weights(location="/etc/passwd"), "'/etc/passwd'"),
    "weights of a process": (with_weights(location="/proc/self/environ"), "'/proc/self/environ'"),
    "weights at an address": (with_weights(location="*/_ORT_MEM_ADDR_/*"), "'*/_ORT_MEM_ADDR_/*'"),
    "weights not stated": (with_weights(location="other.bin"), "'other.bin'"),
    "weights in the document": (with_weights(location="policy.yaml"), "'policy.yaml'"),
    "weights nowhere": (with_weights(offset="0"), "names no file"),
    "weights twice": (twice_external(), "given twice"),
    "past the end": (with_weights(location="w.bin", offset="60", length="64"), "64 bytes"),
    "a terabyte": (with_weights(location="w.bin", length=str(2**40)), "64 bytes"),
    "before the beginning": (with_weights(location="w.bin", offset="-1"), "'-1'"),
    "no number": (with_weights(location="w.bin", offset="0x10"), "'0x10'"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_hostile_graph_is_refused(tmp_path, case):
    graph, expected = GRAPHS[case]
    message = refusal(write_bundle(tmp_path / "bad", graph=graph, files={"w.bin": WEIGHTS}))
    assert expected in message
    assert "ONNX Runtime cannot load" not in message


def test_an_import_that_nobody_uses_is_no_harm():
    made = parsed()
    made.opset_import.append(helper.make_opsetid("pkg.onnxscript.torch_lib", 1))
    assert "action" in graph_info(made.SerializeToString(), "policy.onnx", {}).outputs


def test_functions_of_the_graph_itself_are_allowed():
    made = parsed()
    body = helper.make_node("Neg", ["x"], ["y"])
    opset = [helper.make_opsetid("", 17)]
    made.functions.append(helper.make_function("mine", "F", ["x"], ["y"], [body], opset))
    made.opset_import.append(helper.make_opsetid("mine", 1))
    made.graph.node.append(helper.make_node("F", ["brightness"], ["z"], domain="mine"))
    assert "action" in graph_info(made.SerializeToString(), "policy.onnx", {}).outputs


def test_weights_in_a_file_of_the_bundle_are_allowed():
    graph = with_weights(location="w.bin", offset="0", length="64")
    assert "action" in graph_info(graph, "policy.onnx", {"w.bin": WEIGHTS}).outputs


def doubling(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


DOCUMENTS = {
    "aliases that double": (doubling(30), "aliases"),
    "aliases of something large": (
        b"a: &a [" + b"x," * 30_000 + b"]\nb: [" + b"*a," * 15 + b"]",
        "grows to more than",
    ),
    "a list in itself": (b"stats: {action: {mean: &a [1, *a]}}", "contains itself"),
    "a merge of itself": (b"a: &a {<<: *a}", "contains itself"),
    "a tag with nothing": (b'rate: !!int ""', "tag"),
    "a tag of no float": (b'rate: !!float ""', "tag"),
    "a tag of no bool": (b"rate: !!bool maybe", "tag"),
    "a tag of no date": (b"rate: !!timestamp now", "tag"),
    "python": (b"rate: !!python/object/apply:os.system [id]", "tag"),
    "base 60": (b"rate: 1" + b":59" * 50_000, "long"),
    "a float of base 60": (b"rate: 1" + b":59" * 300 + b":1.0", "long"),
    "a huge number": (b"rate: 0x" + b"f" * 9000, "long"),
    "half a character": (b'name: "\\ud800"', "problem(s)"),
    "half a character for a key": (b'"\\ud800": 1', "valid string"),
    "a key that is a list": (b"? [a]\n: 1", "not valid YAML"),
    "a key that is a number": (b"1: 2", ""),
    "two documents": (b"a: 1\n---\nb: 2", "not valid YAML"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_hostile_document_is_refused(case):
    content, expected = DOCUMENTS[case]
    with pytest.raises(BundleError) as caught:
        read_document(content, "policy.yaml")
    assert expected in one_line(caught)


def test_a_huge_number_inside_a_good_document_is_refused(tmp_path):
    directory = write_bundle(tmp_path / "bad")
    path = directory / "policy.yaml"
    path.write_text(path.read_text().replace("rate: 10", "rate: 0x" + "f" * 5000))
    assert "long" in refusal(directory)


def test_a_bundle_larger_than_allowed_in_all_is_refused(tmp_path):
    directory = write_bundle(tmp_path / "bad", files={"w.bin": bytes(60_000)})
    assert load_bundle(directory, Trust(max_bytes=100_000)).files["w.bin"]
    with pytest.raises(BundleError) as caught:
        load_bundle(directory, Trust(max_bytes=60_000))
    assert "60000 bytes" in one_line(caught)


def test_a_file_with_holes_counts_with_its_size(tmp_path):
    directory = write_bundle(tmp_path / "bad")
    described = yaml.safe_load((directory / "policy.yaml").read_text())
    described["files"]["w.bin"] = "0" * 64
    (directory / "policy.yaml").write_text(yaml.safe_dump(described))
    with (directory / "w.bin").open("wb") as file:
        file.truncate(2**42)
    assert "at most" in refusal(directory)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a/../../x", "a//b", "./x", "x/", "\0", "\ud800"],
)
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "x").write_text("secret")
    files = BundleFiles(tmp_path / "bundle")
    with pytest.raises(BundleError) as caught:
        files.read(name)
    one_line(caught)
    assert not files.has(name)


def test_a_directory_that_is_replaced_is_not_followed(tmp_path):
    """What is read is what the directory was when it was opened."""
    inside = tmp_path / "bundle"
    inside.mkdir()
    (inside / "x").write_bytes(b"mine")
    files = BundleFiles(inside)
    inside.rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_bytes(b"theirs")
    inside.symlink_to(tmp_path / "other")
    assert files.read("x") == b"mine"


def test_opened_directories_are_closed(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        BundleFiles(tmp_path).read("x")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.parametrize("name", ["x" * 5000, "\0", "a/" * 3000])
def test_a_bundle_path_that_cannot_be_is_refused(name):
    with pytest.raises(BundleError) as caught:
        load_bundle(name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_document_may_use_an_alias(tmp_path):
    described = copy.deepcopy(document())
    directory = write_bundle(tmp_path / "good")
    names = described["observations"]["observation.state"]["names"]
    described["action"]["parts"][0]["names"] = names
    described["files"] = {"policy.onnx": digest(ramp_model())}
    aliased = yaml.safe_dump(described)
    assert "*id001" in aliased
    (directory / "policy.yaml").write_text(aliased)
    assert load_bundle(directory).name == "ramp"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


DUMPS = [case for case in DOCUMENTS if DOCUMENTS[case][1] in {"tag", "long", "contains itself"}]


@pytest.mark.parametrize("case", [case for case in DUMPS if case != "python"])
def test_what_others_dumped_is_read_with_the_same_care(case):
    with pytest.raises(BundleError) as caught:
        read_yaml(DOCUMENTS[case][0], "env.yaml")
    assert DOCUMENTS[case][1] in one_line(caught)


def test_a_dump_may_have_tags_of_python_and_many_aliases():
    raw = b"a: !!python/tuple [1, 2]\nb: &b [1]\nc: [" + b"*b, " * 30 + b"]"
    read_yaml(raw, "env.yaml")
    with pytest.raises(BundleError, match="grows to more than"):
        read_yaml(doubling(30), "env.yaml")

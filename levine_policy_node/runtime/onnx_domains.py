# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file brings with it: whose operators it runs, and what it reads from other files.

Read from the bytes before ONNX Runtime sees them, without the package `onnx`, which is no
requirement of this one. Field numbers are those of `onnx.proto` (IR version 13), which never
change: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.protobuf_fields import FieldBudget, ProtobufError, fields, text

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operators that ONNX Runtime itself brings; functions that the file defines are allowed, too."""

# They run Python, or programs compiled by whoever made the file.
_CODE = frozenset({"PythonOp", "PythonOpGrad", "EPContext", "ATen", "SNPE", "ExternalGraph"})
_NUMBER = re.compile(r"^[0-9]{1,18}$")
_MAX_DEPTH = 32
_MAX_SHOWN = 80
# ONNX Runtime takes such bytes for its own file format, whatever else they are.
_ORT_IDENTIFIER = slice(4, 8)


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose bytes lie in another file.

    Attributes:
        location: The file as the graph names it, "" if it does not.
        offset: Where the bytes begin, as written.
        length: How many there are, as written; "" for all from `offset` on.
    """

    location: str
    offset: str = "0"
    length: str = ""


@dataclass(slots=True)
class OnnxContents:
    """What one ONNX file brings.

    Attributes:
        imports: Domains it declares.
        operators: Domain and name of every operator it runs, those of its functions included.
        functions: Domain and name of every function it defines.
        external: Tensors in other files, with those of subgraphs and attributes.
    """

    imports: set[str] = field(default_factory=set[str])
    operators: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    functions: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    external: list[ExternalTensor] = field(default_factory=list[ExternalTensor])


def read_contents(content: bytes) -> OnnxContents:
    """Find operators, functions and references in an ONNX file.

    Args:
        content: The file's bytes.

    Raises:
        ProtobufError: If they are no ONNX file, or one that readers may understand differently.
    """
    if content[_ORT_IDENTIFIER] == b"ORTM":
        raise ProtobufError("is in ORT format, which cannot be checked")
    reader = _Reader()
    if not reader.model(memoryview(content)):
        raise ProtobufError("has no graph")
    return reader.found


def check_graph(content: bytes, file: str, weights: Mapping[str, bytes]) -> None:
    """Refuse a graph that runs foreign operators or reads anything but verified weights.

    Args:
        content: The bytes of the ONNX file.
        file: Its name, for messages.
        weights: Files it may refer to, by the names it has for them.

    Raises:
        BundleError: With the first thing that is wrong.
    """
    try:
        found = read_contents(content)
    except ProtobufError as error:
        raise BundleError(file, "", f"is not a readable ONNX file: it {error}") from error
    for domain, name in sorted(found.operators):
        known = (domain, name) in found.functions or domain in DOMAINS
        if not known or (domain == "com.microsoft" and name in _CODE):
            raise BundleError(
                file,
                "",
                f"runs the operator {_shown(domain)}:{_shown(name)}, whose code is not known here",
                "Allowed: functions that the file defines, and operators of ai.onnx, ai.onnx.ml "
                "and com.microsoft that run no programs",
            )
    for tensor in found.external:
        _check_external(tensor, file, weights)


def _check_external(tensor: ExternalTensor, file: str, weights: Mapping[str, bytes]) -> None:
    if not tensor.location:
        raise BundleError(file, "", "has weights in another file, and names no file")
    place = f"weights in '{_shown(tensor.location)}'"
    if tensor.location not in weights:
        raise BundleError(
            file,
            place,
            "is not one of the files of the bundle that may hold weights",
            "Put the file into the graph's folder, and its sha256 under files:",
        )
    for value in (tensor.offset, tensor.length or "0"):
        if not _NUMBER.match(value):
            raise BundleError(file, place, f"'{_shown(value)}' is no number of bytes")
    size = len(weights[tensor.location])
    if int(tensor.offset) + int(tensor.length or "0") > size:
        raise BundleError(
            file,
            place,
            f"reaches byte {int(tensor.offset) + int(tensor.length or '0')}, and the file has "
            f"{size} bytes",
            "Copy the bundle again, or export it again",
        )


def _shown(value: str) -> str:
    """A form that is short and one line, whatever is in it."""
    return repr(value[:_MAX_SHOWN])[1:-1]


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ProtobufError("is nested too deep")


_Part = Callable[[memoryview, int], object]


class _Reader:
    """Walks through an ONNX file; each method reads one kind of message.

    `depth` counts messages within messages.
    """

    def __init__(self) -> None:
        self.found = OnnxContents()
        self._budget = FieldBudget()

    def model(self, message: memoryview) -> bool:
        """ModelProto: graph 7, opset_import 8, training_info 20, functions 25.

        Returns whether there is a graph.
        """
        parts = {7: self._graph, 8: self._import, 20: self._training, 25: self._function}
        return 7 in self._read(message, 0, parts, once={7})

    def _import(self, message: memoryview, depth: int) -> None:
        """OperatorSetIdProto: domain 1."""
        self.found.imports.add(self._texts(message, depth, {1}).get(1, ""))

    def _training(self, message: memoryview, depth: int) -> None:
        """TrainingInfoProto: initialization 1, algorithm 2."""
        self._read(message, depth, {1: self._graph, 2: self._graph}, once={1, 2})

    def _graph(self, message: memoryview, depth: int) -> None:
        """GraphProto: node 1, initializer 5, sparse_initializer 15."""
        self._read(message, depth, {1: self._node, 5: self._tensor, 15: self._sparse})

    def _function(self, message: memoryview, depth: int) -> None:
        """FunctionProto: name 1, node 7, opset_import 9, domain 10, attribute_proto 11."""
        parts = {7: self._node, 9: self._import, 11: self._attribute}
        names = self._texts(message, depth, {1, 10})
        self.found.functions.add((names.get(10, ""), names.get(1, "")))
        self._read(message, depth, parts)

    def _node(self, message: memoryview, depth: int) -> None:
        """NodeProto: op_type 4, attribute 5, domain 7."""
        names = self._texts(message, depth, {4, 7})
        self.found.operators.add((names.get(7, ""), names.get(4, "")))
        self._read(message, depth, {5: self._attribute})

    def _attribute(self, message: memoryview, depth: int) -> None:
        """AttributeProto: t 5, g 6, tensors 10, graphs 11, sparse 22 and 23."""
        parts = {5: self._tensor, 6: self._graph, 10: self._tensor, 11: self._graph}
        parts |= {22: self._sparse, 23: self._sparse}
        self._read(message, depth, parts, once={5, 6, 22})

    def _sparse(self, message: memoryview, depth: int) -> None:
        """SparseTensorProto: values 1, indices 2."""
        self._read(message, depth, {1: self._tensor, 2: self._tensor}, once={1, 2})

    def _tensor(self, message: memoryview, depth: int) -> None:
        """TensorProto: external_data 13; what data_location says does not matter here."""
        entries: dict[str, str] = {}

        def entry(part: memoryview, within: int) -> None:
            """StringStringEntryProto: key 1, value 2."""
            named = self._texts(part, within, {1, 2})
            key = named.get(1, "")
            if key in entries:
                raise ProtobufError(f"has weights whose {_shown(key)} is given twice")
            entries[key] = named.get(2, "")

        self._read(message, depth, {13: entry})
        if entries:
            self.found.external.append(
                ExternalTensor(
                    entries.get("location", ""),
                    entries.get("offset", "0"),
                    entries.get("length", ""),
                )
            )

    def _texts(self, message: memoryview, depth: int, numbers: set[int]) -> dict[int, str]:
        """The texts among the fields of a message, each of which may occur once."""
        _check_depth(depth)
        found: dict[int, str] = {}
        for number, content in fields(message, self._budget):
            if number in numbers:
                if number in found:
                    raise ProtobufError(f"has a field {number} that is given twice")
                found[number] = text(content)
        return found

    def _read(
        self,
        message: memoryview,
        depth: int,
        parts: Mapping[int, _Part],
        once: set[int] | None = None,
    ) -> set[int]:
        """Read the messages within a message, and return the numbers of all its fields."""
        _check_depth(depth)
        seen: set[int] = set()
        for number, content in fields(message, self._budget):
            if once and number in once and number in seen:
                raise ProtobufError(f"has a field {number} that is given twice")
            seen.add(number)
            if number in parts:
                if content is None:
                    raise ProtobufError("has a number where a part of the graph belongs")
                parts[number](content, depth + 1)
        return seen

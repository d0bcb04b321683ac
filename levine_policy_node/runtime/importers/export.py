# SPDX-License-Identifier: Apache-2.0
"""What somebody exported: a folder or one ONNX file, read through `BundleFiles`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from levine_policy_node.runtime.bundle_files import BundleFiles
from levine_policy_node.runtime.importers.draft import Draft, policy_name
from levine_policy_node.runtime.importers.fields import Fields, read_json, read_yaml, refused
from levine_policy_node.runtime.onnx_loader import GraphInfo, graph_info

MAX_TEXT_BYTES = 1024**2
# Where exporters put things; nothing else is looked at.
FOLDERS = ("artifacts", "exported", "params", "io_descriptors")
_WEIGHTS = (".data", "_data")


class Export:
    """The files of an export; whatever is read is remembered, so that it is hashed.

    Attributes:
        directory: The folder.
        names: Regular files in it and in the folders exporters use.
        read: Bytes by name.
    """

    def __init__(self, files: BundleFiles, only: str | None = None) -> None:
        self._files = files
        self._weights: dict[str, set[str]] = {}
        self._graphs: dict[str, GraphInfo] = {}
        self._only = only
        self.directory: Path = files.directory
        self.names = files.names(FOLDERS)
        self.read: dict[str, bytes] = {}

    @property
    def is_one_file(self) -> bool:
        """Whether one ONNX file was given, not a folder."""
        return self._only is not None

    def has(self, *names: str) -> str | None:
        """The first of these files that is there."""
        return next((name for name in names if name in self.names), None)

    def path(self, name: str) -> str:
        """A file, for messages."""
        return str(self.directory / name) if name else str(self.directory)

    def json(self, name: str) -> Fields:
        """A JSON file."""
        return read_json(self.content(name, MAX_TEXT_BYTES), self.path(name))

    def yaml(self, name: str) -> Fields:
        """A YAML file."""
        return read_yaml(self.content(name, MAX_TEXT_BYTES), self.path(name))

    def content(self, name: str, max_bytes: int | None = None) -> bytes:
        """Bytes of a file, which is read once."""
        if name not in self.read:
            self.read[name] = (
                self._files.read(name) if max_bytes is None else self._files.read(name, max_bytes)
            )
        return self.read[name]

    def peek(self, name: str) -> bytes:
        """Bytes of a file that may turn out not to belong to the export."""
        return self._files.read(name, MAX_TEXT_BYTES)

    @property
    def onnx(self) -> tuple[str, ...]:
        """ONNX files."""
        if self._only is not None:
            return (self._only,)
        return tuple(sorted(name for name in self.names if name.endswith(".onnx")))

    def only_graph(self, advice: str = "Leave one ONNX file in the folder") -> str:
        """The one ONNX file.

        Raises:
            BundleError: If there is none or more than one.
        """
        if len(self.onnx) != 1:
            found = ", ".join(self.onnx[:4]) or "none"
            raise refused(self.path(""), "", f"needs one ONNX file, has {found}", advice)
        return self.onnx[0]

    def graph(self, name: str) -> GraphInfo:
        """Inputs, outputs and metadata of a graph."""
        if name not in self._graphs:
            others = {name + ending for ending in _WEIGHTS} & set(self.names)
            self._weights[name] = others
            folder = PurePosixPath(name).parent
            self._graphs[name] = graph_info(
                self.content(name),
                self.path(name),
                {str(PurePosixPath(o).relative_to(folder)): self.content(o) for o in others},
            )
        return self._graphs[name]

    def files(self, graphs: list[str]) -> dict[str, bytes]:
        """Graphs and the weights beside them."""
        names = {*graphs, *(other for name in graphs for other in self._weights.get(name, ()))}
        return {name: self.content(name) for name in sorted(names)}

    def name(self, graph: str) -> str:
        """A name for the policy where the format has none."""
        usual = {"policy", "model", "actor"}
        stem = PurePosixPath(graph).stem
        return policy_name(self.directory.name if stem in usual else stem)

    def draft(
        self,
        importer: str,
        why: str,
        document: dict[str, Any],
        source: str,
        notes: tuple[str, ...] = (),
    ) -> Draft:
        """A draft of a document whose graphs were looked at with `graph`."""
        head = {"format": "policy_package", "version": "1.1"}
        return Draft(
            importer=importer,
            why=why,
            source=self.path(source),
            document={**head, **document},
            files=self.files(list(document["graphs"].values())),
            read=dict(self.read),
            notes=notes,
        )

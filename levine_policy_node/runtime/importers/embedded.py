# SPDX-License-Identifier: Apache-2.0
"""A whole `policy.yaml` in the metadata of one ONNX file."""

from __future__ import annotations

from typing import Any

from levine_policy_node.runtime.bundle_document import parse_document
from levine_policy_node.runtime.importers.draft import Draft
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields
from levine_policy_node.runtime.onnx_loader import GraphInfo

KEY = "policy.yaml"


def matches(graph: GraphInfo) -> bool:
    """Whether the metadata have a document."""
    return KEY in graph.metadata


def read(export: Export, name: str) -> Draft:
    """The document; its graph is the file it is in.

    Raises:
        BundleError: If it is no YAML, or names other files.
    """
    raw = export.graph(name).metadata[KEY].encode()
    source = f"{export.path(name)}: metadata_props {KEY}"
    fields = Fields({"": parse_document(raw, source)}, source).mapping("")
    if "graphs" in fields and fields.mapping("graphs").keys != ("step",):
        raise fields.refusal("graphs", "a file that describes itself has the graph step only")
    if "files" in fields:
        raise fields.refusal("files", "a file cannot state its own hash")
    document: dict[str, Any] = {key: fields.raw(key) for key in fields.keys if key in fields}
    document["graphs"] = {"step": name}
    return export.draft("policy.yaml", f"{name} has metadata {KEY}", document, name)

# SPDX-License-Identifier: Apache-2.0
"""Which format an export has; the first that matches, most specific first."""

from __future__ import annotations

from levine_policy_node.runtime.bundle_files import BundleFiles
from levine_policy_node.runtime.importers import (
    bare,
    embedded,
    exploy,
    isaac_lab,
    leapp,
    lerobot,
    mjlab,
    policy_package,
)
from levine_policy_node.runtime.importers.draft import Draft
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import refused

_EFFERENT = "efferent.manifest"
_REFLEX = "reflex_config.json"


def import_draft(files: BundleFiles, only: str | None = None) -> Draft | None:
    """Read an export into a draft.

    Args:
        files: The folder.
        only: The one ONNX file that was given, if it was not the folder.

    Returns:
        The draft, or None if the folder has nothing that looks like an export.

    Raises:
        BundleError: If it has, but cannot be represented.
    """
    export = Export(files, only)
    if not export.is_one_file:
        draft = _from_manifests(export)
        if draft is not None:
            return draft
    if len(export.onnx) == 1:
        draft = _from_metadata(export, export.onnx[0])
        if draft is not None:
            return draft
    if not export.is_one_file:
        draft = _from_neighbours(export)
        if draft is not None:
            return draft
    return bare.read(export) if export.onnx else None


def _from_manifests(export: Export) -> Draft | None:
    """Documents that say what the whole folder is."""
    if export.has(policy_package.MANIFEST) is not None:
        fields = export.json(policy_package.MANIFEST)
        if not policy_package.matches(fields):
            raise policy_package.refuse_model_package(export, fields)
        return policy_package.read(export, fields)
    file = leapp.find(export)
    return None if file is None else leapp.read(export, file)


def _from_metadata(export: Export, name: str) -> Draft | None:
    """What an ONNX file says of itself."""
    graph = export.graph(name)
    if embedded.matches(graph):
        return embedded.read(export, name)
    if _EFFERENT in graph.metadata:
        raise refused(
            export.path(name),
            f"metadata_props {_EFFERENT}",
            "efferent's manifests cannot be read yet",
            "Write a policy.yaml from it",
        )
    if exploy.matches(graph):
        return exploy.read(export, name)
    return mjlab.read(export, name) if mjlab.matches(graph) else None


def _from_neighbours(export: Export) -> Draft | None:
    """Files of a training run that lie beside a graph."""
    if export.has(_REFLEX) is not None:
        raise refused(
            export.path(_REFLEX),
            "",
            "exports of reflex-vla cannot be read yet",
            "Write a policy.yaml from it",
        )
    if lerobot.matches(export):
        return lerobot.read(export)
    descriptors = export.has(*isaac_lab.DESCRIPTORS)
    if descriptors is not None:
        return isaac_lab.read_descriptors(export, descriptors)
    environment = export.has(*isaac_lab.ENVIRONMENTS)
    return None if environment is None else isaac_lab.read_environment(export, environment)

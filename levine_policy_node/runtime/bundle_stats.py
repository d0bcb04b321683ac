# SPDX-License-Identifier: Apache-2.0
"""The statistics a bundle normalises with, checked against what they are used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from levine_policy_node.core.normalization import Normalization
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle_schema import BundleDocument, FeatureStats
from levine_policy_node.runtime.observation_rules import vector_width
from levine_policy_node.runtime.observation_schema import Normalize

ACTION = "action"
_FIELDS: dict[Normalize, tuple[str, str]] = {
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
}


def read_normalizations(
    document: BundleDocument, files: Mapping[str, bytes], source: str
) -> dict[str, Normalization]:
    """Build the normalisation of every feature that asks for one.

    Args:
        document: The bundle's document.
        files: The bundle's verified bytes by file name.
        source: The bundle, for messages.

    Returns:
        Normalisations by feature name; that of the actions is under `action`.

    Raises:
        BundleError: If statistics are missing, of the wrong size, or not usable.
    """
    wanted: dict[str, tuple[Normalize, tuple[tuple[int, ...], ...]]] = {}
    for feature, spec in document.vectors.items():
        if spec.normalize is not None:
            width = vector_width(spec, len(document.action.names))
            wanted[feature] = (spec.normalize, ((width,),))
    if document.action.normalize is not None:
        width = len(document.action.names)
        wanted[ACTION] = (document.action.normalize, ((width,), (document.chunk.size, width)))
    if not wanted:
        return {}
    table = _table(document, files, source)
    result: dict[str, Normalization] = {}
    for feature, (kind, shapes) in wanted.items():
        first, second = (
            _values(table, f"{feature}.{field}", shapes, source) for field in _FIELDS[kind]
        )
        make = Normalization.mean_std if kind == "mean_std" else Normalization.min_max
        result[feature] = make(first, second)
        if np.min(result[feature].spread) <= 0.0:
            raise BundleError(
                source,
                f"stats.{feature}.{_FIELDS[kind][1]}",
                "has a column without spread, which cannot be divided by",
                "Drop the column or give its physical range",
            )
    return result


def _table(document: BundleDocument, files: Mapping[str, bytes], source: str) -> dict[str, Any]:
    stats = document.stats
    if stats is None:
        raise BundleError(source, "stats", "is missing, but 'normalize' is used", "Add it")
    if isinstance(stats, str):
        try:
            return dict(load_safetensors(files[stats]))
        except (SafetensorError, ValueError, TypeError) as error:
            detail = " ".join(str(error).split())
            raise BundleError(source, stats, f"is not a safetensors file ({detail})") from error
    return {
        f"{feature}.{field}": getattr(values, field)
        for feature, values in stats.items()
        for field in FeatureStats.model_fields
        if getattr(values, field) is not None
    }


def _values(
    table: Mapping[str, Any], key: str, shapes: tuple[tuple[int, ...], ...], source: str
) -> FloatArray:
    field = f"stats.{key}"
    if key not in table:
        raise BundleError(source, field, "is missing", "Add it, or remove 'normalize'")
    try:
        values: npt.NDArray[np.float64] = np.asarray(table[key], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BundleError(source, field, "is not a list of numbers") from error
    if values.shape not in shapes:
        expected = " or ".join(str(shape) for shape in shapes)
        raise BundleError(source, field, f"has shape {values.shape}, expected {expected}")
    if not np.all(np.isfinite(values)):
        raise BundleError(source, field, "is not finite")
    return values

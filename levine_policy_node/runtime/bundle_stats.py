# SPDX-License-Identifier: Apache-2.0
"""The statistics a bundle normalises with, checked against what they are used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from levine_policy_node.core.normalization import Normalization
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.observation_rules import vector_width
from levine_policy_node.runtime.observation_schema import Normalize
from levine_policy_node.runtime.stats_schema import FeatureStats

ACTION = "action"
_FIELDS: dict[Normalize, tuple[str, str]] = {
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
    "quantiles": ("q01", "q99"),
}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a feature asks for.

    Attributes:
        kind: How it is normalised.
        shapes: Shapes that its statistics may have.
        mask: Which columns are.
        field: Where the document says so.
    """

    kind: Normalize
    shapes: tuple[tuple[int, ...], ...]
    mask: tuple[bool, ...] | None
    field: str


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
    wanted = _wanted(document)
    if not wanted:
        return {}
    table = _table(document, files, source)
    return {feature: _read(table, feature, asked, source) for feature, asked in wanted.items()}


def _wanted(document: BundleDocument) -> dict[str, _Wanted]:
    wanted: dict[str, _Wanted] = {}
    action = document.action
    columns = action.columns
    for feature, spec in document.vectors.items():
        if spec.normalize is not None:
            shapes = ((vector_width(spec, columns),),)
            field = f"observations.{feature}.normalize_mask"
            wanted[feature] = _Wanted(spec.normalize, shapes, spec.normalize_mask, field)
    if action.normalize is not None:
        shapes = ((columns,), (document.chunk.size, columns))
        field = "action.unnormalize_mask"
        wanted[ACTION] = _Wanted(action.normalize, shapes, action.unnormalize_mask, field)
    return wanted


def _read(table: Mapping[str, Any], feature: str, wanted: _Wanted, source: str) -> Normalization:
    columns = wanted.shapes[0][0]
    if wanted.mask is not None and len(wanted.mask) != columns:
        raise BundleError(
            source, wanted.field, f"has {len(wanted.mask)} values for {columns} columns"
        )
    fields = _FIELDS[wanted.kind]
    first, second = (
        _values(table, f"{feature}.{field}", wanted.shapes, source) for field in fields
    )
    if f"{feature}.eps" in table:
        # Either is divided by: std + eps, or high - low + eps.
        second = second + _values(table, f"{feature}.eps", ((), (1,)), source)
    make = Normalization.mean_std if wanted.kind == "mean_std" else Normalization.min_max
    made = make(first, second)
    if wanted.mask is not None:
        made = made.masked(np.array(wanted.mask))
    if np.min(made.spread) <= 0.0:
        raise BundleError(
            source,
            f"stats.{feature}.{fields[1]}",
            "has a column without spread, which cannot be divided by",
            "Drop the column, leave it out in the mask, or give its physical range",
        )
    return made


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

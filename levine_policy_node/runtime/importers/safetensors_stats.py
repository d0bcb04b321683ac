# SPDX-License-Identifier: Apache-2.0
"""Statistics of other formats as the two kinds of normalisation a bundle has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from levine_policy_node.runtime.importers.fields import Fields, refused
from levine_policy_node.runtime.observation_schema import Normalize

Table = dict[str, dict[str, npt.NDArray[Any]]]
_MODES: dict[str, tuple[Normalize, str, str]] = {
    "mean_std": ("mean_std", "mean", "std"),
    "standard": ("mean_std", "mean", "std"),
    "min_max": ("min_max", "min", "max"),
    # Both map the two quantiles to -1 and 1, which is min_max with other numbers.
    "quantiles": ("min_max", "q01", "q99"),
    "quantile10": ("min_max", "q10", "q90"),
}
_CHANNELS = 3
_FIELDS: dict[Normalize, tuple[str, str]] = {
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
}


def read_stats(raw: bytes, file: str) -> Table:
    """Statistics by feature and name, from keys `feature/stat` (physicalai) or `feature.stat`.

    Raises:
        BundleError: If the bytes are no safetensors file, or a key has no such form.
    """
    try:
        flat = load_safetensors(raw)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        detail = " ".join(str(error).split())[:200]
        raise refused(file, "", f"is not a safetensors file ({detail})") from error
    table: Table = {}
    for key, value in flat.items():
        feature, _, stat = key.replace("/", ".").rpartition(".")
        table.setdefault(feature, {})[stat] = value
    return table


def is_identity(mode: str) -> bool:
    """Whether this mode changes nothing."""
    return mode.lower() == "identity"


def normalization(
    table: Mapping[str, Mapping[str, Any]],
    feature: str,
    mode: str,
    at: tuple[Fields, str],
    eps: float = 0.0,
) -> tuple[Normalize, dict[str, list[float]]]:
    """`normalize` of a feature and its entry under `stats`.

    Args:
        table: Statistics by feature.
        feature: Which of them.
        mode: As LeRobot and physicalai name it, in either case.
        at: Mapping and field that asked for it, for messages.
        eps: Added to a standard deviation that is divided by.

    Raises:
        BundleError: If the mode is not known or statistics are missing or not numbers.
    """
    fields, key = at
    if mode.lower() not in _MODES:
        known = ", ".join(["identity", *_MODES])
        raise fields.refusal(key, f"mode '{mode[:40]}' is not supported; supported: {known}")
    kind, *stats = _MODES[mode.lower()]
    values: list[list[float]] = []
    for stat in stats:
        if stat not in table.get(feature, {}):
            raise fields.refusal(
                key, f"the statistics have no {feature}.{stat}", "Export again with its statistics"
            )
        values.append(_numbers(table[feature][stat], fields, f"{key} {feature}.{stat}"))
    if len(values[0]) != len(values[1]):
        raise fields.refusal(key, f"{feature}: {stats[0]} and {stats[1]} differ in length")
    if kind == "mean_std":
        values[1] = [value + eps for value in values[1]]
    return kind, dict(zip(_FIELDS[kind], values, strict=True))


def apply_to_image(
    spec: dict[str, Any],
    normalize: Normalize,
    values: Mapping[str, list[float]],
    at: tuple[Fields, str],
) -> None:
    """Add statistics per channel to an observation of kind `sensor/image`.

    Raises:
        BundleError: If there is not one value per channel, or the pixels stay whole numbers.
    """
    fields, key = at
    first, second = (np.array(values[stat]) for stat in _FIELDS[normalize])
    if normalize == "min_max":
        first, second = (first + second) / 2.0, (second - first) / 2.0
    if len(first) != _CHANNELS or np.min(second) <= 0.0 or "range" not in spec["image"]:
        raise fields.refusal(
            key, "needs three channels with a spread each, and a graph that takes float32"
        )
    spec["image"].update(mean=first.tolist(), std=second.tolist())


def _numbers(value: Any, fields: Fields, key: str) -> list[float]:
    try:
        array = np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise fields.refusal(key, "is not a list of numbers") from error
    if not np.all(np.isfinite(array)):
        raise fields.refusal(key, "is not finite")
    return [float(number) for number in array]

# SPDX-License-Identifier: Apache-2.0
"""What a data set tells about the values of its columns, so that networks can normalise them.

The ten figures of LeRobot v3 per value: min, max, mean, std, count and five quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.units import FloatArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_LEVELS = 256
_MOST_PIXELS = 150
"""Pixels per side that are counted; LeRobot shrinks frames to as many for the same purpose."""

Figures = dict[str, npt.NDArray[Any]]
"""`count` (1,), all others (D,)."""


def figures_of(values: npt.NDArray[Any]) -> Figures:
    """Figures over the rows of numbers or truth values, shape (N,) or (N, D) with N > 0."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": np.array([len(rows)], dtype=np.int64),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


class PixelCounts:
    """Figures over pictures, by counting how often each channel has each of its 256 values."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, _LEVELS), dtype=np.int64)
        self._frames = 0

    def add(self, pixels: Pixels) -> None:
        """Count a picture (H, W, 3); large ones at every so many pixels."""
        stride = max(1, max(pixels.shape[:2]) // _MOST_PIXELS)
        sampled = pixels[::stride, ::stride]
        for channel in range(3):
            values = sampled[..., channel].ravel()
            self._counts[channel] += np.bincount(values, minlength=_LEVELS)
        self._frames += 1

    def figures(self) -> Figures:
        """Per channel, shape (3,), pixels scaled to 0..1; `count` is the number of pictures."""
        levels = np.arange(_LEVELS) / 255.0
        share = self._counts / self._counts.sum(axis=1, keepdims=True)
        mean = share @ levels
        below = np.cumsum(share, axis=1)
        seen = self._counts > 0
        last = _LEVELS - 1 - np.argmax(seen[:, ::-1], axis=1)
        return {
            "min": levels[np.argmax(seen, axis=1)],
            "max": levels[last],
            "mean": mean,
            "std": np.sqrt(np.maximum(share @ levels**2 - mean**2, 0.0)),
            "count": np.array([self._frames], dtype=np.int64),
            **{
                # Rounding must not lift a quantile beyond the largest value there is.
                name: levels[np.minimum(np.argmax(below >= at - 1e-12, axis=1), last)]
                for name, at in QUANTILES.items()
            },
        }


def pooled(parts: Sequence[Mapping[str, npt.NDArray[Any]]]) -> Figures:
    """Figures over several episodes from those of each.

    Mean and deviation are exact (Chan et al. 1979). Quantiles are means weighted by the number of
    frames, as LeRobot pools them (`datasets/compute_stats.py`), since the values are not there.
    """
    counts = np.array([float(part["count"][0]) for part in parts])
    weights = counts / counts.sum()

    def weighted(name: str) -> FloatArray:
        rows = np.stack([np.asarray(part[name], np.float64) for part in parts])
        return np.asarray(np.tensordot(weights, rows, axes=1), np.float64)

    mean = weighted("mean")
    second = np.stack([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(np.tensordot(weights, second, axes=1)),
        "count": np.array([int(counts.sum())], dtype=np.int64),
        **{name: weighted(name) for name in QUANTILES},
    }

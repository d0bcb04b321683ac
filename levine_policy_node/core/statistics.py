# SPDX-License-Identifier: Apache-2.0
"""Rolling percentiles for diagnostics."""

from __future__ import annotations

from collections import deque

import numpy as np


class RollingPercentiles:
    """Percentiles of the newest `window` values."""

    def __init__(self, window: int = 512) -> None:
        self._values: deque[float] = deque(maxlen=window)

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._values)

    def add(self, value: float) -> None:
        """Add one value."""
        self._values.append(value)

    def percentile(self, q: float) -> float:
        """The `q`-th percentile (0 to 100); NaN while there is no value."""
        # Copied in one step: another thread may add meanwhile.
        values = list(self._values)
        return float(np.percentile(values, q)) if values else float("nan")

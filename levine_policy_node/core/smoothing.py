# SPDX-License-Identifier: Apache-2.0
"""Zero-phase smoothing of a whole chunk before a curve is laid through it.

A C2 curve through noisy rows passes the noise on as jerk. A chunk's future is known, so it can be
smoothed without delay.
"""

from __future__ import annotations

import math

import numpy as np

from levine_policy_node.core.units import FloatArray

# What a Gaussian weighs beyond this many standard deviations is below float noise in the jerk.
_REACH = 4.0


def smoothed(rows: FloatArray, dt_s: float, sigma_s: FloatArray) -> FloatArray:
    """Convolve every column with a Gaussian, symmetric in time.

    Beyond both ends the rows are continued point-symmetrically, so the first and the last row
    stay where they are and a straight line stays straight.

    Args:
        rows: Shape (T, J).
        dt_s: Time between rows [s].
        sigma_s: Standard deviation per column (J,) [s]; a column with 0 comes back unchanged.

    Returns:
        The smoothed rows, shape (T, J).
    """
    result = rows.copy()
    for sigma in np.unique(sigma_s[sigma_s > 0.0]):
        columns = np.flatnonzero(sigma_s == sigma)
        result[:, columns] = _convolved(rows[:, columns], float(sigma) / dt_s)
    return result


def _convolved(rows: FloatArray, sigma_rows: float) -> FloatArray:
    reach = min(math.ceil(_REACH * sigma_rows), len(rows) - 1)
    if reach < 1:
        return rows
    before = 2.0 * rows[0] - rows[reach:0:-1]
    after = 2.0 * rows[-1] - rows[-2 : -reach - 2 : -1]
    extended = np.concatenate([before, rows, after])
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma_rows) ** 2)
    weights /= weights.sum()
    around = np.lib.stride_tricks.sliding_window_view(extended, len(weights), axis=0)
    return np.asarray(around @ weights)

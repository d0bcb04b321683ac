# SPDX-License-Identifier: Apache-2.0
"""Temporal ensembling: every recent chunk has a say in where the arm should be.

Source: Zhao et al., Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware (ACT,
RSS 2023), section IV: weights exp(-k i), where i = 0 is the oldest prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.spline import cubic_knots
from levine_policy_node.core.units import NS_PER_S, FloatArray


def ensembled(chunks: Sequence[ActionChunk], k: float, newest_only: np.ndarray) -> ActionChunk:
    """Average what the chunks say about the times of the newest one's rows.

    ACT averages row by row, which needs every chunk to start on a row of the last. Chunks on
    absolute time need not: each is read off its own curve.

    Args:
        chunks: Oldest first, of the same joints.
        k: Weights are exp(-k i); 0 weighs all alike, a larger k trusts older chunks more.
        newest_only: Mask (J,) of joints that the newest chunk alone decides, such as a gripper
            that opens or closes.

    Returns:
        The newest chunk with averaged positions.
    """
    newest = chunks[-1]
    rows = newest.positions
    total, weight = np.zeros_like(rows), np.zeros((len(rows), 1))
    due_s = newest.dt_s * (1.0 + np.arange(len(rows), dtype=np.float64))
    for i, chunk in enumerate(chunks):
        ahead_s = (int(newest.observed_ns) - int(chunk.observed_ns)) / NS_PER_S
        said, covered = _read(chunk, due_s + ahead_s) if i < len(chunks) - 1 else (rows, due_s > 0)
        share = np.where(covered, np.exp(-k * i), 0.0)[:, None]
        total += share * said
        weight += share
    averaged = np.where(newest_only, rows, total / weight)
    return replace(newest, positions=averaged)


def _read(chunk: ActionChunk, offsets_s: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """The chunk's curve (T, J) at times after its observation, and where (T,) it has one."""
    dt_s, rows = chunk.dt_s, chunk.positions
    last = len(rows) - 1
    at = offsets_s / dt_s - 1.0
    covered = (at >= -1e-9) & (at <= last + 1e-9)
    if last == 0:
        return np.repeat(rows, len(offsets_s), axis=0), covered
    velocities, accelerations = cubic_knots(dt_s, rows)
    at = np.clip(at, 0.0, last)
    k = np.minimum(at.astype(np.intp), last - 1)
    t = ((at - k) * dt_s)[:, None]
    # Between two rows the curve is a cubic, so its third derivative is constant.
    jerk = (accelerations[k + 1] - accelerations[k]) / dt_s
    return rows[k] + t * (velocities[k] + t * (0.5 * accelerations[k] + t * jerk / 6.0)), covered

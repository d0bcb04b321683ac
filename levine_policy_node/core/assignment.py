# SPDX-License-Identifier: Apache-2.0
"""The cheapest way to pair rows with columns."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray


def cheapest_pairs(cost: FloatArray) -> list[int]:
    """Pair each row of a square matrix with a column of its own at the least total cost.

    Shortest augmenting paths with potentials (Jonker and Volgenant, Computing 38, 1987), in the
    O(n^3) form of e-maxx, "Hungarian algorithm".

    Args:
        cost: Shape (n, n), finite.

    Returns:
        The column of each row.
    """
    n = len(cost)
    u, v = np.zeros(n + 1), np.zeros(n + 1)
    # Column 0 is where a row waits that has no column yet.
    row_of, way = [0] * (n + 1), [0] * (n + 1)
    for row in range(1, n + 1):
        row_of[0], column = row, 0
        least = np.full(n + 1, np.inf)
        used = np.zeros(n + 1, dtype=bool)
        while row_of[column] != 0:
            used[column] = True
            here = row_of[column]
            reduced = np.full(n + 1, np.inf)
            reduced[1:] = cost[here - 1] - u[here] - v[1:]
            better = ~used & (reduced < least)
            least[better] = reduced[better]
            for at in range(1, n + 1):
                if better[at]:
                    way[at] = column
            following = int(np.argmin(np.where(used, np.inf, least)))
            delta = least[following]
            for at in range(n + 1):
                if used[at]:
                    u[row_of[at]] += delta
                    v[at] -= delta
            least[~used] -= delta
            column = following
        while column != 0:
            row_of[column] = row_of[way[column]]
            column = way[column]
    pairs = [0] * n
    for at in range(1, n + 1):
        pairs[row_of[at] - 1] = at - 1
    return pairs

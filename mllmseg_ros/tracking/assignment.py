# SPDX-License-Identifier: Apache-2.0
"""Who goes with whom so that the sum is best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_pairs"]


def best_pairs(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once, so that the sum of gains is greatest.

    Args:
        gain: (N, M), 0 or more; what is 0 is no pair.

    Returns:
        Pairs (row, column), the rows in order.

    Source: H. W. Kuhn, The Hungarian method for the assignment problem, 1955; by shortest
    augmenting paths.
    """
    if gain.shape[0] > gain.shape[1]:
        return sorted((row, column) for column, row in best_pairs(gain.T))
    n_rows, n_columns = gain.shape
    cost = -gain
    row_price, column_price = np.zeros(n_rows), np.zeros(n_columns)
    row_of = np.full(n_columns, -1)
    for start in range(n_rows):
        # Dijkstra from this row over reduced costs, to the nearest column that is free.
        distance = np.full(n_columns, np.inf)
        came_from = np.full(n_columns, -1)
        done = np.zeros(n_columns, np.bool_)
        row, last, travelled = start, -1, 0.0
        while True:
            through = travelled + cost[row] - row_price[row] - column_price
            shorter = ~done & (through < distance)
            distance[shorter], came_from[shorter] = through[shorter], last
            last = int(np.argmin(np.where(done, np.inf, distance)))
            travelled = float(distance[last])
            done[last] = True
            if row_of[last] < 0:
                break
            row = int(row_of[last])
        row_price[start] += travelled
        settled = done.copy()
        settled[last] = False
        for column in np.flatnonzero(settled):
            row_price[row_of[column]] += travelled - distance[column]
            column_price[column] -= travelled - distance[column]
        while last >= 0:  # walk back: each column takes the row of the one before
            previous = int(came_from[last])
            row_of[last] = start if previous < 0 else row_of[previous]
            last = previous
    pairs = [(int(row), column) for column, row in enumerate(row_of) if row >= 0]
    return sorted(pair for pair in pairs if gain[pair] > 0)

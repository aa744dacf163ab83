"""One-to-one matching of the least cost, where SciPy is not installed."""

from __future__ import annotations

import numpy as np


def linear_sum_assignment(cost: np.ndarray, maximize: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """cost (A, B) -> rows and columns, min(A, B) of each, of the matching of the least (or greatest) sum.

    As SciPy's function of that name: shortest augmenting paths, one for each row (Jonker and Volgenant, 1987).
    Raises ValueError for anything but a finite matrix.
    """
    table = np.asarray(cost, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(f"the costs must be a finite matrix, not of shape {table.shape}")
    if table.shape[0] > table.shape[1]:
        columns, rows = linear_sum_assignment(table.T, maximize)
        order = np.argsort(rows, kind="stable")
        return rows[order], columns[order]
    table = -table if maximize else table
    n_rows, n_columns = table.shape
    row_price, column_price = np.zeros(n_rows), np.zeros(n_columns)
    row_of = np.full(n_columns, -1)
    column_of = np.full(n_rows, -1)
    for start in range(n_rows):
        length = np.full(n_columns, np.inf)  # of the shortest path to each column, in reduced costs
        previous = np.full(n_columns, -1)  # row from which it reaches the column
        done = np.zeros(n_columns, dtype=bool)
        row, base = start, 0.0
        reached = []  # matched rows on the way
        while True:
            candidate = base + table[row] - row_price[row] - column_price
            better = ~done & (candidate < length)
            length[better], previous[better] = candidate[better], row
            column = int(np.where(done, np.inf, length).argmin())
            base = float(length[column])
            done[column] = True
            if row_of[column] < 0:
                break
            row = int(row_of[column])
            reached.append(row)
        row_price[start] += base
        row_price[reached] += base - length[column_of[reached]]
        column_price[done] -= base - length[done]
        while column >= 0:  # turn the path over, from its end to `start`
            row = int(previous[column])
            row_of[column], column_of[row], column = row, column, int(column_of[row])
    return np.arange(n_rows), column_of

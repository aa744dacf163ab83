"""`linear_sum_assignment`: SciPy's where it is installed, otherwise our own."""

from __future__ import annotations

import numpy as np

__all__ = ["linear_sum_assignment"]


def linear_sum_assignment(cost: np.ndarray, maximize: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """As `assignment.linear_sum_assignment`. SciPy is imported here: it takes a fifth of the library's own start."""
    try:
        from scipy.optimize import linear_sum_assignment as assign
    except ImportError:
        from dti_sprites.evaluation.assignment import linear_sum_assignment as assign
    rows, columns = assign(cost, maximize)
    return rows, columns

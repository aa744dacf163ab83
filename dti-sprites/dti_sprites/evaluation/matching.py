"""`linear_sum_assignment`: SciPy's where it is installed, otherwise our own."""

from __future__ import annotations

try:
    from scipy.optimize import linear_sum_assignment
except ImportError:
    from dti_sprites.evaluation.assignment import linear_sum_assignment

__all__ = ["linear_sum_assignment"]

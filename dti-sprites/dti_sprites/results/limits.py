"""How far from a prototype an image may lie and still count as one of its images."""

from __future__ import annotations

import numpy as np

from dti_sprites.results.tables import Assignments

ENOUGH = 10  # images of a cluster from which its own largest distance says something


def training_limits(assignments: Assignments) -> np.ndarray:
    """(K,) the largest distance of a training image to each prototype; with fewer than ENOUGH images, to any."""
    best, labels = assignments.best.astype(np.float64), assignments.labels
    limits = np.full(assignments.n_clusters, best.max(initial=0.0))
    for k in np.flatnonzero(assignments.sizes >= ENOUGH):
        limits[k] = best[labels == k].max()
    return limits


def within(distances: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(N,) bool: distances (N,) up to limits (N,), give or take rounding."""
    return distances <= limits + 1e-3 * np.abs(limits) + 1e-6

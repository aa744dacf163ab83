"""How well clusters agree with known classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dti_sprites.evaluation import clustering_metrics


def score(labels: np.ndarray, predictions: np.ndarray, n_clusters: int) -> dict[str, Any]:
    """{"accuracy", "nmi", "ari", "mean_class_accuracy", "n_labelled"} over the images whose class is known.

    `labels` (N,) int64 with -1 for unknown, `predictions` (N,) in 0 ... n_clusters - 1, or n_clusters where nothing but
    the empty sprite explains an image. Empty when no class is known.
    """
    known = np.asarray(labels) >= 0
    if not known.any():
        return {}
    found = np.asarray(predictions)[known]
    figures = clustering_metrics(np.asarray(labels)[known], found, max(n_clusters, int(found.max()) + 1))
    return {**{name: float(value) for name, value in figures.items()}, "n_labelled": int(known.sum())}

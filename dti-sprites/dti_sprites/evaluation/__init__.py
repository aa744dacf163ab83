"""Agreement with known classes and masks; never used in training."""

from dti_sprites.evaluation import segmentation
from dti_sprites.evaluation.baseline import kmeans_baseline
from dti_sprites.evaluation.clustering import (
    accuracy_hungarian,
    accuracy_majority,
    ari,
    clustering_metrics,
    confusion,
    contingency,
    nmi,
    per_class_accuracy,
)

__all__ = [
    "accuracy_hungarian",
    "accuracy_majority",
    "ari",
    "clustering_metrics",
    "confusion",
    "contingency",
    "kmeans_baseline",
    "nmi",
    "per_class_accuracy",
    "segmentation",
]
